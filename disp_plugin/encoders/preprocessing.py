"""From images in [0, 1] to what a network was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

INTERPOLATIONS = {mode.value: mode for mode in InterpolationMode}


@dataclass(frozen=True)
class Preprocessing:
    """Resize, normalize and crop a batch as the weights of an encoder expect it.

    The steps are those of torchvision's and timm's evaluation transforms, on tensors: a resize with
    antialiasing (values clamped to [0, 1], as 8-bit images are), normalization, a central crop. An
    image smaller than the crop is padded with ``mean``.

    Args:
        resize (int | tuple[int, int] | None): New length of the shorter side, or new (height,
            width), which changes the aspect ratio. None keeps the size. Defaults to None.
        crop (tuple[int, int] | None): Height and width of the central crop. None crops nothing.
            Defaults to None.
        mean (tuple[float, float, float]): Mean of each channel (RGB), for images in [0, 1].
            Defaults to (0.5, 0.5, 0.5).
        std (tuple[float, float, float]): Standard deviation of each channel. Defaults to
            (0.5, 0.5, 0.5).
        interpolation (str): ``'nearest'``, ``'bilinear'`` or ``'bicubic'``. Defaults to 'bilinear'.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = 'bilinear'

    def __post_init__(self) -> None:
        for name in ('mean', 'std'):
            values = getattr(self, name)
            if len(values) != 3:
                raise ValueError(
                    f'{name} must have one value for each of R, G, B, but is {values!r}'
                )
        if min(self.std) <= 0:
            raise ValueError(f'std must be positive, but is {self.std!r}')
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f'interpolation must be one of {", ".join(sorted(INTERPOLATIONS))}, '
                f'but is {self.interpolation!r}'
            )

    @classmethod
    def from_torchvision(cls, transform: Any) -> 'Preprocessing':
        """Read the evaluation preset of a torchvision weights enum.

        Args:
            transform (ImageClassification): What ``weights.transforms()`` returned.

        Returns:
            Preprocessing: The same steps.
        """
        (resize,) = transform.resize_size
        (crop,) = transform.crop_size
        mode = transform.interpolation.value
        return cls(resize, (crop, crop), tuple(transform.mean), tuple(transform.std), mode)

    @classmethod
    def from_timm(cls, data_config: dict) -> 'Preprocessing':
        """Read what ``timm.data.resolve_model_data_config`` returned.

        Args:
            data_config (dict): With ``input_size``, ``crop_pct``, ``crop_mode``, ``interpolation``,
                ``mean`` and ``std``.

        Returns:
            Preprocessing: The steps of timm's evaluation transform.

        Raises:
            ValueError: The crop mode is neither 'center' nor 'squash'.
        """
        height, width = data_config['input_size'][1:]
        scaled = int(height / data_config['crop_pct']), int(width / data_config['crop_pct'])
        mode = data_config['crop_mode']
        if mode not in ('center', 'squash'):
            raise ValueError(
                f"this timm model's images are fitted by crop_mode {mode!r}, which is not known "
                'here; pass preprocessing=dict(resize=..., crop=..., mean=..., std=...)'
            )
        # timm's few models for images that are not square all squash them.
        resize = scaled[0] if mode == 'center' and height == width else scaled
        return cls(
            resize,
            (height, width),
            tuple(data_config['mean']),
            tuple(data_config['std']),
            data_config['interpolation'],
        )

    @classmethod
    def from_options(cls, options: 'dict | Preprocessing | None') -> 'Preprocessing':
        """Build from what a config says.

        Args:
            options (dict | Preprocessing | None): The arguments as a dict; lists are welcome, and
                an integer ``crop`` means a square.

        Returns:
            Preprocessing: The steps.
        """
        if isinstance(options, Preprocessing):
            return options
        values = dict(options or {})
        if isinstance(values.get('crop'), int):
            values['crop'] = (values['crop'],) * 2
        return cls(**{k: _as_tuple(v) for k, v in values.items()})

    @property
    def out_size(self) -> tuple[int, int] | None:
        """Height and width of what comes out, or None where it depends on the image."""
        if self.crop is not None:
            return self.crop
        return self.resize if isinstance(self.resize, tuple) else None

    def __call__(self, img: Tensor) -> Tensor:
        """Preprocess a batch.

        Args:
            img (Tensor): (N, 3, H, W) float, RGB in [0, 1].

        Returns:
            Tensor: (N, 3, h, w), normalized.
        """
        if self.resize is not None:
            size = [self.resize] if isinstance(self.resize, int) else list(self.resize)
            mode = INTERPOLATIONS[self.interpolation]
            img = F.resize(img, size, mode, antialias=True).clamp(0, 1)
        img = F.normalize(img, list(self.mean), list(self.std))
        # after normalization, so that the zeros with which a small image is padded are the mean
        return img if self.crop is None else F.center_crop(img, list(self.crop))

    def describe(self) -> str:
        """Say in one line what is done; part of an encoder's fingerprint."""
        return (
            f'resize {_spell(self.resize)} {self.interpolation}, crop {_spell(self.crop)}, '
            f'mean {_spell(self.mean)}, std {_spell(self.std)}'
        )


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _spell(value: Any) -> str:
    if isinstance(value, tuple):
        return '(' + ', '.join(_spell(item) for item in value) + ')'
    return f'{value:.6g}' if isinstance(value, float) else str(value)
