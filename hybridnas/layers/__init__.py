"""What a network is made of besides its mixers: one table of names for each kind of part."""

from .blocks import Form as Form
from .blocks import Gated, MetaFormer
from .conv_blocks import Basic, ConvNeXt
from .downsamples import ConvNorm, NormConv, PatchMerging
from .downsamples import Downsample as Downsample
from .heads import Head as Head
from .heads import LinearHead, MlpHead
from .stems import DoubleConv, Patch
from .stems import Stem as Stem
from .tokens import Tokens

FORMS: dict[str, type[Form]] = {
    "gated": Gated,
    "metaformer": MetaFormer,
    "convnext": ConvNeXt,
    "basic": Basic,
}
STEMS: dict[str, type[Stem]] = {"double_conv": DoubleConv, "patch": Patch, "tokens": Tokens}
DOWNSAMPLES: dict[str, type[Downsample]] = {
    "conv_norm": ConvNorm,
    "norm_conv": NormConv,
    "patch_merging": PatchMerging,
}
HEADS: dict[str, type[Head]] = {"linear": LinearHead, "mlp": MlpHead}
