"""Techniques that DISP is combined with and compared to: augmentation, freezing, transfer."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .adaptive_augment import AdaptiveAugment  # noqa: E402
from .aug_self import AugSelfDiscriminator, AugSelfLoss  # noqa: E402
from .consistency_regularization import ConsistencyRegularization  # noqa: E402
from .diff_augment import DiffAugment  # noqa: E402
from .feature_discriminator import FeatureDiscriminator  # noqa: E402
from .freeze_d import FreezeD  # noqa: E402
from .glann import GLANN, GLANNGenerator, PerceptualDistance  # noqa: E402
from .lecam import LeCamLoss  # noqa: E402
from .mined_generator import MinedGenerator, Miner  # noqa: E402
from .regularized_gan import (  # noqa: E402
    RegularizedBigGAN,
    RegularizedSNGAN,
    RegularizedStyleGAN2,
)
from .rotation import RotationDiscriminator, RotationLoss  # noqa: E402
from .self_conditioned import SelfConditionedHook, SelfConditionedSampler  # noqa: E402

__all__ = [
    'GLANN',
    'AdaptiveAugment',
    'AugSelfDiscriminator',
    'AugSelfLoss',
    'ConsistencyRegularization',
    'DiffAugment',
    'FeatureDiscriminator',
    'FreezeD',
    'GLANNGenerator',
    'LeCamLoss',
    'MinedGenerator',
    'Miner',
    'PerceptualDistance',
    'RegularizedBigGAN',
    'RegularizedSNGAN',
    'RegularizedStyleGAN2',
    'RotationDiscriminator',
    'RotationLoss',
    'SelfConditionedHook',
    'SelfConditionedSampler',
]
