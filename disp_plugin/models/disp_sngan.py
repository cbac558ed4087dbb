"""mmagic's SNGAN, trained and sampled with priors."""

from mmagic.models.editors.sagan import SAGAN
from mmagic.registry import MODELS

from .disp_gan import DISPGAN


@MODELS.register_module()
class DISPSNGAN(DISPGAN, SAGAN):
    """SNGAN with Data InStance Priors; see :class:`DISPGAN` for its arguments.

    mmagic registers one class under the names SNGAN and SAGAN.
    """
