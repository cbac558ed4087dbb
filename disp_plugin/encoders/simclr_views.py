"""Two random views of each image, for contrastive training."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, v2

from disp_plugin.datasets import decode_image


@dataclass(frozen=True)
class ViewOptions:
    """What a view keeps of an image; whatever it does not keep, the encoder learns to ignore.

    Args:
        in_size (int): Height and width of a view. Defaults to 128.
        min_crop (float): Smallest share of the image's area in a view. Defaults to 0.2.
        flip (bool): Whether to mirror half of the views. Defaults to True.
        color_jitter (float): Strength of the jitter of brightness, contrast, saturation and hue, in
            80 % of the views; 1 is that of SimCLR on ImageNet, 0 keeps all colors. Defaults to
            0.5.
        grayscale (float): Share of views without color. Defaults to 0.2.
        rotation (float): Largest rotation in degrees, after the crop. Defaults to 0.
        shift (float): Largest shift as a share of the side, after the crop. Defaults to 0.

    Raises:
        ValueError: A value is out of range.
    """

    in_size: int = 128
    min_crop: float = 0.2
    flip: bool = True
    color_jitter: float = 0.5
    grayscale: float = 0.2
    rotation: float = 0.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        _check(self.in_size >= 8, 'size', 'at least 8', self.in_size)
        _check(0 < self.min_crop <= 1, 'min-crop', 'above 0 and at most 1', self.min_crop)
        _check(0 <= self.color_jitter <= 2, 'color-jitter', 'from 0 to 2', self.color_jitter)
        _check(0 <= self.grayscale <= 1, 'grayscale', 'from 0 to 1', self.grayscale)
        _check(0 <= self.rotation <= 180, 'rotation', 'from 0 to 180', self.rotation)
        _check(0 <= self.shift < 1, 'shift', 'from 0 to below 1', self.shift)

    def make_transform(self, is_gray: bool = False) -> v2.Compose:
        """Make the transform of one view.

        Args:
            is_gray (bool): Whether the image is gray: what changes only colors is then left out,
                since it would take half of the time for nothing. Defaults to False.

        Returns:
            Compose: PIL image -> PIL image, in_size x in_size.
        """
        steps: list = [v2.RandomResizedCrop(self.in_size, scale=(self.min_crop, 1))]
        if self.flip:
            steps.append(v2.RandomHorizontalFlip())
        if self.rotation or self.shift:
            shift = (self.shift, self.shift)
            bilinear = InterpolationMode.BILINEAR
            steps.append(v2.RandomAffine(self.rotation, shift, interpolation=bilinear))
        if self.color_jitter:
            s = self.color_jitter
            # the published proportions; a factor of brightness must not become negative
            light = (min(0.8 * s, 1.0),) * 2
            color = () if is_gray else (0.8 * s, min(0.2 * s, 0.5))
            steps.append(v2.RandomApply([v2.ColorJitter(*light, *color)], p=0.8))
        if self.grayscale and not is_gray:
            steps.append(v2.RandomGrayscale(self.grayscale))
        return v2.Compose(steps)


class TwoViews(Dataset):
    """Image files as pairs of random views, (2, in_size, in_size, 3) uint8, RGB.

    Args:
        paths (list[str]): The files.
        options (ViewOptions): What a view keeps.
    """

    def __init__(self, paths: list[str], options: ViewOptions) -> None:
        self.paths = paths
        self.transforms = {gray: options.make_transform(gray) for gray in (False, True)}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        pixels = decode_image(self.paths[index])
        is_gray = bool((pixels[..., :1] == pixels[..., 1:]).all())
        transform, image = self.transforms[is_gray], Image.fromarray(pixels)
        return torch.from_numpy(np.stack([transform(image), transform(image)]))


class EpochBatches:
    """Batches of positions, epoch after epoch, each shuffled by its own seed.

    A position is ``epoch * num_images + index``. What does not fill a batch is left out of
    its epoch.

    Args:
        num_images (int): Number of images.
        batch_size (int): Images in a batch.
        epochs (range): The epochs to go through.
        seed (int): Seed of the orders.
    """

    def __init__(self, num_images: int, batch_size: int, epochs: range, seed: int) -> None:
        self.num_images = num_images
        self.batch_size = batch_size
        self.epochs = epochs
        self.seed = seed

    def __len__(self) -> int:
        return len(self.epochs) * (self.num_images // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for epoch in self.epochs:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(self.num_images, generator=generator) + epoch * self.num_images
            for batch in order.split(self.batch_size):
                if len(batch) == self.batch_size:
                    yield batch.tolist()


def _check(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f'{name} must be {rule}, but is {value}')
