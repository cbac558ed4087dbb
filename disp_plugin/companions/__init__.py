"""What DISP is combined with and compared to on few images: augmentation, freezing, transfer."""

from disp_plugin.upstream import mend

mend()

from .freeze_d import FreezeD  # noqa: E402

__all__ = ['FreezeD']
