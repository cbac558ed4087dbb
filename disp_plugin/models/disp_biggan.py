"""mmagic's BigGAN, trained and sampled with priors."""

from mmagic.models.editors.biggan import BigGAN
from mmagic.registry import MODELS

from .disp_gan import DISPGAN


@MODELS.register_module()
class DISPBigGAN(DISPGAN, BigGAN):
    """BigGAN with Data InStance Priors; see :class:`DISPGAN` for its arguments."""
