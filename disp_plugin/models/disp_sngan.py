"""mmagic's SNGAN, trained and sampled with priors."""

from mmagic.models.editors.sagan import SAGAN
from mmagic.registry import MODELS

from .disp_gan import DISPGANMixin


@MODELS.register_module()
class DISPSNGAN(DISPGANMixin, SAGAN):
    """SNGAN with Data InStance Priors; see :class:`DISPGANMixin` for its arguments.

    mmagic registers one class under the names SNGAN and SAGAN.
    """
