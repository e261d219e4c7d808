"""Heads of dense tasks, on the maps of a network's stages."""

from .mask_rcnn import Detector as Detector
from .mask_rcnn import mask_rcnn as mask_rcnn
from .upernet import UPerNet as UPerNet
