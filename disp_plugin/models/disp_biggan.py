"""mmagic's BigGAN, trained and sampled with priors."""

from typing import ClassVar

from mmagic.models.editors.biggan import BigGAN
from mmagic.registry import MODELS

from .disp_gan import DISPGAN


@MODELS.register_module()
class DISPBigGAN(DISPGAN, BigGAN):
    """BigGAN with Data InStance Priors; see :class:`DISPGAN` for its arguments."""

    UNSUPPORTED: ClassVar[dict[str, str]] = {
        'channels_last': "mmagic's self-attention reads feature maps as rows of memory",
    }
