"""Networks and GANs that take a data instance prior in the place of a class label."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .discriminator_wrapper import DiscriminatorWrapper  # noqa: E402
from .disp_biggan import DISPBigGAN  # noqa: E402
from .disp_biggan_generator import DISPBigGANGenerator  # noqa: E402
from .disp_gan import DISPGAN  # noqa: E402
from .disp_sngan import DISPSNGAN  # noqa: E402
from .disp_sngan_generator import DISPSNGANGenerator  # noqa: E402
from .disp_stylegan2 import DISPStyleGAN2  # noqa: E402
from .disp_stylegan2_generator import DISPStyleGAN2Generator  # noqa: E402
from .fitted_module import FittedModule  # noqa: E402
from .generator_path_regularizer import GeneratorPathRegularizer  # noqa: E402
from .narrow_sngan_disc_res_block import NarrowSNGANDiscResBlock  # noqa: E402
from .pretrained import LoadReport, load_pretrained  # noqa: E402
from .prior_condition_bn import PriorConditionBN  # noqa: E402
from .prior_normalizer import PriorNormalizer  # noqa: E402
from .prior_projection import PriorProjection  # noqa: E402
from .prior_projection_discriminator import PriorProjectionDiscriminator  # noqa: E402
from .prior_sampling import Latents, PriorGAN  # noqa: E402
from .r1_gradient_penalty import R1GradientPenalty  # noqa: E402
from .sized_stylegan2_discriminator import SizedStyleGAN2Discriminator  # noqa: E402

__all__ = [
    'DISPGAN',
    'DISPSNGAN',
    'DISPBigGAN',
    'DISPBigGANGenerator',
    'DISPSNGANGenerator',
    'DISPStyleGAN2',
    'DISPStyleGAN2Generator',
    'DiscriminatorWrapper',
    'FittedModule',
    'GeneratorPathRegularizer',
    'Latents',
    'LoadReport',
    'NarrowSNGANDiscResBlock',
    'PriorConditionBN',
    'PriorGAN',
    'PriorNormalizer',
    'PriorProjection',
    'PriorProjectionDiscriminator',
    'R1GradientPenalty',
    'SizedStyleGAN2Discriminator',
    'load_pretrained',
]
