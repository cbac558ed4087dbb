"""Encoders: image -> prior. One contract (``PriorEncoder``), several sources of weights."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .base_encoder import Preprocessing, PriorEncoder  # noqa: E402
from .checkpoint_encoder import CheckpointEncoder  # noqa: E402
from .metric_encoders import InceptionEncoder, PixelEncoder  # noqa: E402
from .packaged_encoder import PackagedEncoder, choose_default_encoder  # noqa: E402
from .timm_encoder import TimmEncoder  # noqa: E402
from .torchvision_encoder import TorchvisionEncoder  # noqa: E402

__all__ = [
    'CheckpointEncoder',
    'InceptionEncoder',
    'PackagedEncoder',
    'PixelEncoder',
    'Preprocessing',
    'PriorEncoder',
    'TimmEncoder',
    'TorchvisionEncoder',
    'choose_default_encoder',
]
