"""What DISP is combined with and compared to on few images: augmentation, freezing, transfer."""

from disp_plugin.upstream import mend

mend()

from .diff_augment import DiffAugment  # noqa: E402
from .freeze_d import FreezeD  # noqa: E402

__all__ = ['DiffAugment', 'FreezeD']
