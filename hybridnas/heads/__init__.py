"""Heads of dense tasks, on the maps of any timm model with `features_only`."""

from .mask_rcnn import Detector as Detector
from .mask_rcnn import mask_rcnn as mask_rcnn
