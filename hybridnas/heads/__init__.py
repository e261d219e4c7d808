"""Heads of dense tasks, on the maps of a network's stages."""

from .upernet import UPerNet as UPerNet
