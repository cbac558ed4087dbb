"""Gray values as features: a space that no network has shaped."""

from mmagic.registry import MODELS
from torch import Tensor

from .base_encoder import PriorEncoder
from .preprocessing import Preprocessing


@MODELS.register_module()
class PixelEncoder(PriorEncoder):
    """Describe an image by its pixels, resized to a small size (bilinear, antialiased).

    As the space of a metric it needs no weights and favors no encoder; it is of use for small
    images that are aligned, such as digits. As an encoder of priors it is a control.

    Args:
        size (int): Height and width that images are resized to. Defaults to 8.
        color (bool): Whether the three channels are kept; else their mean. Defaults to False.

    Raises:
        ValueError: ``size`` is below 1.
    """

    def __init__(self, size: int = 8, color: bool = False) -> None:
        if size < 1:
            raise ValueError(f'size of a PixelEncoder must be at least 1, but is {size}')
        steps = Preprocessing((size, size), mean=(0.0,) * 3, std=(1.0,) * 3)
        super().__init__('pixels', 'color' if color else 'gray', steps)
        self.color = color
        self.seal()

    def extract(self, img: Tensor) -> Tensor:
        """Lay the pixels out in a row.

        Args:
            img (Tensor): (N, 3, size, size) in [0, 1].

        Returns:
            Tensor: (N, D), D size squared, or three times that with ``color``.
        """
        return (img if self.color else img.mean(dim=1)).flatten(1)
