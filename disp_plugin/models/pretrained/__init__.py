"""Weights of other GANs: read their files, give their entries mmagic's names, load what fits."""

from .load_pretrained import load_pretrained
from .load_report import LoadReport

__all__ = ['LoadReport', 'load_pretrained']
