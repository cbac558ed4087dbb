"""mmagic's BigGAN, trained and sampled with priors."""

from mmagic.models.editors.biggan import BigGAN
from mmagic.registry import MODELS

from .disp_gan import DISPGANMixin


@MODELS.register_module()
class DISPBigGAN(DISPGANMixin, BigGAN):
    """BigGAN with Data InStance Priors; see :class:`DISPGANMixin` for its arguments."""
