"""Differentiable augmentation of the real and fake images that a discriminator sees."""

from collections.abc import Callable
from typing import ClassVar

import torch
from mmagic.registry import MODELS
from mmengine.dist import get_rank, get_world_size
from torch import Tensor, nn

Operation = Callable[['DiffAugment', Tensor, Tensor], Tensor]


@MODELS.register_module()
class DiffAugment(nn.Module):
    r"""DiffAugment, for a discriminator's ``augmentation``.

    Zhao et al. 2020 (arXiv 2006.10738); ranges and rounding as in their ``DiffAugment_pytorch.py``.
    For an image :math:`x` with the mean :math:`\mu(x)` of the channels at each pixel:

    * color: :math:`x + b`, :math:`\mu(x) + s (x - \mu(x))` and :math:`\bar x + c (x - \bar x)`, one
      after the other, :math:`\bar x` the image's mean; b is uniform in [-0.5, 0.5), s in [0, 2), c
      in [0.5, 1.5).
    * translation: along each side by a whole number of pixels in [-t, t], t =
      ``translation_ratio`` of the side, rounded; zeros come in.
    * cutout: a rectangle of ``cutout_ratio`` of each side, rounded, is zero; its center may be
      anywhere, so the border may cut it off.
    * flip: left and right are swapped with probability 1/2. It belongs to the published
      consistency regularization ('flip,translation'), not to DiffAugment.

    Each of W processes draws for all and keeps its rows, so that their number changes nothing.
    Colors may leave [-1, 1], as published.

    Args:
        policy (str): Names of operations, joined by commas, in the order in which they are done.
            Defaults to 'color,translation,cutout'.
        translation_ratio (float): Largest translation, in sides of the image, in [0, 1].
            Defaults to 0.125.
        cutout_ratio (float): Sides of the cutout, in sides of the image, in [0, 1].
            Defaults to 0.5.

    Raises:
        ValueError: The policy is empty or names an unknown operation, or a ratio is not in [0, 1].
    """

    def __init__(
        self,
        policy: str = 'color,translation,cutout',
        translation_ratio: float = 0.125,
        cutout_ratio: float = 0.5,
    ) -> None:
        super().__init__()
        self.operations = _parse_policy(policy, list(self.OPERATIONS))
        self.translation_ratio = _check_ratio('translation_ratio', translation_ratio)
        self.cutout_ratio = _check_ratio('cutout_ratio', cutout_ratio)
        self.num_draws = [self.OPERATIONS[name][0] for name in self.operations]

    def forward(self, img: Tensor) -> Tensor:
        """Augment each of the images (N, 3, H, W) in [-1, 1] independently."""
        return self.transform(img, self.draw(img))

    def draw(self, img: Tensor) -> Tensor:
        """Draw the numbers of [0, 1) that say how N images are augmented, (N, sum(num_draws))."""
        world_size = get_world_size()
        # one draw and one copy to the device for all operations
        draws = torch.rand(len(img) * world_size, sum(self.num_draws))[get_rank() :: world_size]
        return draws.to(img.device, non_blocking=True)

    def transform(self, img: Tensor, draws: Tensor) -> Tensor:
        """Augment images (N, 3, H, W) in [-1, 1] by their draws."""
        for name, part in zip(self.operations, draws.split(self.num_draws, dim=1), strict=True):
            img = self.OPERATIONS[name][1](self, img, part)
        return img

    def extra_repr(self) -> str:
        """Show the policy where the model is printed."""
        return ','.join(self.operations)

    def _change_color(self, img: Tensor, draws: Tensor) -> Tensor:
        brightness, saturation, contrast = draws.to(img.dtype)[:, :, None, None, None].unbind(1)
        saturation, contrast = 2 * saturation, contrast + 0.5
        # Saturation keeps the means of pixels and of the image, and brightness moves both, so that
        # the three are one affine map of x, of its pixels' means and of its mean.
        pixel_mean = img.mean(dim=1, keepdim=True)
        image_mean = pixel_mean.mean(dim=(2, 3), keepdim=True)
        shift = image_mean * (1 - contrast) + (brightness - 0.5)
        gray = pixel_mean * (contrast * (1 - saturation)) + shift
        return torch.addcmul(gray, img, contrast * saturation)

    def _translate(self, img: Tensor, draws: Tensor) -> Tensor:
        height, width = img.shape[2:]
        rows, row_is_in = self._source(height, draws[:, 0])
        columns, column_is_in = self._source(width, draws[:, 1])
        pixels = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
        moved = img.flatten(2).gather(2, pixels[:, None].expand(-1, img.shape[1], -1))
        is_in = row_is_in[:, None, :, None] & column_is_in[:, None, None, :]
        return moved.view_as(img).masked_fill(~is_in, 0)

    def _source(self, side: int, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Return the source index of each of ``side`` places, and whether it is inside.

        Indices outside wrap around: then no two places have one source, and no gradients add up.
        """
        farthest = int(side * self.translation_ratio + 0.5)
        shift = _draw_integers(draws, 2 * farthest + 1) - farthest
        places = torch.arange(side, device=draws.device) + shift[:, None]
        return places % side, (places >= 0) & (places < side)

    def _cut_out(self, img: Tensor, draws: Tensor) -> Tensor:
        rows = self._cut(img.shape[2], draws[:, 0])
        columns = self._cut(img.shape[3], draws[:, 1])
        return img.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)

    def _cut(self, side: int, draws: Tensor) -> Tensor:
        """Return which of ``side`` places lie in the cutout."""
        size = int(side * self.cutout_ratio + 0.5)
        # an even cutout is centered between two places, or at one of the two borders
        first = _draw_integers(draws, side + 1 - size % 2)[:, None] - size // 2
        places = torch.arange(side, device=draws.device)
        return (places >= first) & (places < first + size)

    def _flip(self, img: Tensor, draws: Tensor) -> Tensor:
        return torch.where(draws[:, :, None, None] < 0.5, img, img.flip(3))

    # Name -> random numbers per image, and the method that takes them.
    OPERATIONS: ClassVar[dict[str, tuple[int, Operation]]] = {
        'color': (3, _change_color),
        'translation': (2, _translate),
        'cutout': (2, _cut_out),
        'flip': (1, _flip),
    }


def _parse_policy(policy: str, known: list[str]) -> list[str]:
    names = [name.strip() for name in policy.split(',')]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f'policy of DiffAugment is {policy!r}, and there is no operation {unknown[0]!r}; give '
            f'one or more of {", ".join(known)}, joined by commas'
        )
    return names


def _check_ratio(name: str, ratio: float) -> float:
    if not 0 <= ratio <= 1:
        raise ValueError(f'{name} of DiffAugment is {ratio}; it must be in [0, 1]')
    return ratio


def _draw_integers(draws: Tensor, count: int) -> Tensor:
    """Turn uniform numbers of [0, 1) into integers from 0 to ``count`` - 1, all equally likely."""
    return (draws * count).long()
