"""Commands about the reference architectures, and how an architecture looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..cost import cost
from ..counting import CONVENTION
from ..errors import ConfigError
from ..layers import DOWNSAMPLES, HEADS, STEMS
from ..parts import words_of
from ..pictures import draw
from ..reference import REFERENCES, Reference
from .common import DEFAULT_STORAGE, AsJson, Storage, print_json, print_table, say_written
from .costs import ArchArgument
from .folding import say
from .resolve import architecture_of

archs = typer.Typer(help="List published architectures, or show one.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    app.add_typer(archs, name="archs")


@archs.callback()
def list_archs(
    context: typer.Context,
    as_json: AsJson = False,
    markdown: Annotated[
        bool,
        typer.Option(
            "--markdown", help="The reference page: published figures beside those counted here."
        ),
    ] = False,
) -> None:
    """List the reference architectures with their published figures.

    Their names stand for ARCH elsewhere: `hybridnas cost mambaout_tiny`. timm knows them too, with
    `hybridnas_` before the name.
    """
    if context.invoked_subcommand is not None:
        return
    if as_json and markdown:
        raise ConfigError("--json and --markdown are two documents: ask for one of them")
    if as_json:
        print_json([_document(name, known) for name, known in REFERENCES.items()])
        return
    if markdown:
        typer.echo(reference_page(), nl=False)
        return
    rows = []
    for name, r in REFERENCES.items():
        p = r.published
        rows.append([name, r.family, r.architecture.short, p.params_m, p.macs_g, p.top1])
    columns = ("name", "family", "stages", "params M", "MACs G", "top1 %")
    print_table("Reference architectures, as published (ImageNet-1K, 224 px)", columns, rows)


@archs.command("show")
def show_arch(
    arch: ArchArgument,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it as a picture. -: on stdout.")
    ] = None,
) -> None:
    """Show one architecture, a line a stage; with --json in full, to edit and give as ARCH.

    In the picture a block's colour is its mixer, its height the stage's width; below stand the
    tokens, whether the sequence is long, and the share of the MACs. Those of a trial are counted
    as its study counts them, others at 224 px.
    Example: `hybridnas archs show quickstart:17`, or `hybridnas archs show vim_tiny --svg vim.svg`
    """
    named = architecture_of(arch, storage)
    architecture = named.architecture
    if as_json and svg is not None:
        raise ConfigError("--json and --svg are two documents: ask for one of them")
    if as_json:
        print_json(architecture.to_dict())
        return
    if svg is not None:
        _write(draw(architecture, named.cost(), arch), svg)
        return
    say(f"{arch}: {architecture.short} ({architecture.digest})")
    say(f"  stem: {words_of(architecture.stem, STEMS)}")
    for i, line in enumerate(architecture.describe(), 1):
        say(f"  stage {i}: {line}")
    if len(architecture.stages) > 1:
        say(f"  downsample: {words_of(architecture.downsample, DOWNSAMPLES)}")
    say(f"  head: {words_of(architecture.head, HEADS)}")


def _write(picture: str, path: Path) -> None:
    if str(path) == "-":
        typer.echo(picture, nl=False)
        return
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--svg: {path} cannot be written ({error.strerror})") from None
    say_written(path)


def _document(name: str, known: Reference) -> dict[str, Any]:
    p = known.published
    return {
        "name": name,
        "family": known.family,
        "params_m": p.params_m,
        "macs_g": p.macs_g,
        "top1": p.top1,
        "box_ap": p.box_ap,
        "mask_ap": p.mask_ap,
        "det_macs_g": p.det_macs_g,
        "miou_ss": p.miou_ss,
        "miou_ms": p.miou_ms,
        "seg_macs_g": p.seg_macs_g,
        "source": p.source,
        "arch": known.architecture.digest,
        "stages": known.architecture.short,
    }


def reference_page() -> str:
    """The page hybridnas/reference/README.md: what was printed, and what is counted here."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield from (
        "# Reference architectures",
        "",
        "Made by `hybridnas archs --markdown`. Each pair is *published / counted here*: millions",
        "of parameters, MACs in G at 224 x 224, with Mask R-CNN at 800 x 1280, with UperNet at",
        f"512 x 2048. Counted by: {CONVENTION}.",
        "",
        "Where papers count otherwise: ConvFormer and CAFormer leave LayerNorm out, Vim most of",
        "the scan, MambaVision attention and scan (and its UperNet figures come from larger",
        "windows than its classifier's, so that they are not comparable).",
        "",
        "top-1 on ImageNet-1K, AP of boxes and masks on COCO (1x), mIoU on ADE20K at one scale and",
        "at several are as published; nothing here was trained.",
        "",
        "| name | params | MACs | top-1 | Mask R-CNN MACs | AP box / mask | UperNet MACs "
        "| mIoU ss / ms | source |",
        "|---|---|---|---|---|---|---|---|---|",
    )
    for name, known in REFERENCES.items():
        yield _page_row(name, known)


def _page_row(name: str, known: Reference) -> str:
    a, p = known.architecture, known.published
    own = cost(a)
    dense = dict.fromkeys(("detection", "segmentation"), "")
    if len(a.stages) > 1:
        for task, printed in (("detection", p.det_macs_g), ("segmentation", p.seg_macs_g)):
            dense[task] = f"{_number(printed)} / {cost(a, task=task).macs / 1e9:.1f}"
    cells = (
        f"`{name}`",
        f"{p.params_m:g} / {own.params / 1e6:.3f}",
        f"{p.macs_g:g} / {own.macs / 1e9:.3f}",
        f"{p.top1:g}",
        dense["detection"],
        _pair(p.box_ap, p.mask_ap),
        dense["segmentation"],
        _pair(p.miou_ss, p.miou_ms),
        p.source,
    )
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _pair(first: float | None, second: float | None) -> str:
    return "" if first is None and second is None else f"{_number(first)} / {_number(second)}"
