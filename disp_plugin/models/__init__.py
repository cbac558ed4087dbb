"""Networks and GANs that take a data instance prior in place of a class label."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .discriminators import (  # noqa: E402
    DiscriminatorWrapper,
    NarrowSNGANDiscResBlock,
    PriorProjectionDiscriminator,
)
from .disp_gan import (  # noqa: E402
    DISPGAN,
    DISPSNGAN,
    DISPBigGAN,
    DISPFastGAN,
    Latents,
    PriorGAN,
)
from .disp_stylegan2 import DISPStyleGAN2  # noqa: E402
from .fastgan_generator import DISPFastGANGenerator  # noqa: E402
from .generators import (  # noqa: E402
    DISPBigGANGenerator,
    DISPSNGANGenerator,
    GeneratorWrapper,
)
from .losses import GeneratorPathRegularizer, LazyLoss, R1GradientPenalty  # noqa: E402
from .precision_optim_wrapper import PrecisionOptimWrapper  # noqa: E402
from .pretrained import LoadReport, load_pretrained  # noqa: E402
from .prior_modules import PriorConditionBN, PriorProjection  # noqa: E402
from .prior_normalizer import FittedModule, PriorNormalizer  # noqa: E402
from .stacking_preprocessor import StackingPreprocessor  # noqa: E402
from .stylegan2_networks import (  # noqa: E402
    DISPStyleGAN2Generator,
    SizedStyleGAN2Discriminator,
)

__all__ = [
    'DISPGAN',
    'DISPSNGAN',
    'DISPBigGAN',
    'DISPBigGANGenerator',
    'DISPFastGAN',
    'DISPFastGANGenerator',
    'DISPSNGANGenerator',
    'DISPStyleGAN2',
    'DISPStyleGAN2Generator',
    'DiscriminatorWrapper',
    'FittedModule',
    'GeneratorPathRegularizer',
    'GeneratorWrapper',
    'Latents',
    'LazyLoss',
    'LoadReport',
    'NarrowSNGANDiscResBlock',
    'PrecisionOptimWrapper',
    'PriorConditionBN',
    'PriorGAN',
    'PriorNormalizer',
    'PriorProjection',
    'PriorProjectionDiscriminator',
    'R1GradientPenalty',
    'SizedStyleGAN2Discriminator',
    'StackingPreprocessor',
    'load_pretrained',
]
