"""The contract of every encoder, and the preprocessing that travels with its weights."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from disp_plugin.precision import choose_precision

INTERPOLATIONS = ('nearest', 'nearest-exact', 'bilinear', 'bicubic')


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

    Raises:
        ValueError: An option is out of range.
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
    def from_options(cls, options: 'Mapping[str, object] | Preprocessing') -> 'Preprocessing':
        """Build from a config: lists are welcome, and an integer ``crop`` means a square."""
        if isinstance(options, Preprocessing):
            return options
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
        }
        if isinstance(values.get('crop'), int):
            values['crop'] = (values['crop'],) * 2
        return cls(**values)  # type: ignore[arg-type]

    @property
    def out_size(self) -> tuple[int, int] | None:
        """Height and width of what comes out, or None where it depends on the image."""
        if self.crop is not None:
            return self.crop
        return self.resize if isinstance(self.resize, tuple) else None

    def __call__(self, img: Tensor) -> Tensor:
        """Preprocess images (N, 3, H, W), RGB in [0, 1], to (N, 3, h, w), normalized."""
        # here, since sampling and training may need no encoder
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as F

        if self.resize is not None:
            size = [self.resize] if isinstance(self.resize, int) else list(self.resize)
            mode = InterpolationMode(self.interpolation)
            # a row of one channel at a time takes a third of the time of channels last
            img = F.resize(img.contiguous(), size, mode, antialias=True).clamp(0, 1)
        height, width = self.crop or img.shape[2:]
        is_padded = img.shape[2] < height or img.shape[3] < width
        if not is_padded:
            img = F.center_crop(img, [height, width])
        # torchvision's normalize looks at the values of std: a GPU would be waited for
        mean, std = (img.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        img = (img - mean).div_(std)
        # after normalization: the zeros that pad a small image are then the mean
        return F.center_crop(img, [height, width]) if is_padded else img

    def describe(self) -> str:
        """Describe the steps in one line, which is part of an encoder's fingerprint."""
        return (
            f'resize {_spell(self.resize)} {self.interpolation}, crop {_spell(self.crop)}, '
            f'mean {_spell(self.mean)}, std {_spell(self.std)}'
        )


def _spell(value: object) -> str:
    if isinstance(value, tuple):
        return '(' + ', '.join(_spell(item) for item in value) + ')'
    return f'{value:.6g}' if isinstance(value, float) else str(value)


class PriorEncoder(nn.Module):
    """The frozen feature extractor C: images in, data instance priors out.

    A child sets ``self.network`` in its ``__init__`` and ends it with :meth:`seal`, which freezes
    the encoder; one without a network implements :meth:`extract`. An encoder stays in evaluation
    mode whatever its owner does, never builds a graph, and gives an image the same prior in every
    batch.

    Shapes: N batch, H and W any size, D ``prior_dim``.

    Args:
        architecture (str): Name of the network, a part of the fingerprint.
        layer (str): Which activations are the prior, a part of the fingerprint.
        preprocessing (Preprocessing): What is done to the images before the network sees them.
        precision (str): In which type :meth:`encode` computes, as in
            :func:`~disp_plugin.precision.choose_precision`; another than float32 is a part of the
            fingerprint. Defaults to 'float32'.

    Attributes:
        prior_dim (int): D, length of a prior.
        network (nn.Module): Preprocessed images to features.
    """

    prior_dim: int
    network: nn.Module
    precision: str = 'float32'

    def __init__(
        self,
        architecture: str,
        layer: str,
        preprocessing: Preprocessing,
        precision: str = 'float32',
    ) -> None:
        super().__init__()
        self.precision = precision
        self.architecture = architecture
        self.layer = layer
        self.preprocessing = preprocessing
        self._weights_hash: str | None = None
        self._is_range_seen = False

    def extract(self, img: Tensor) -> Tensor:
        """Compute features of preprocessed images (N, 3, h, w).

        Returns:
            Tensor: (N, D), or (N, D, h', w'), which is then averaged over its positions.
        """
        return self.network(img)

    def seal(self) -> None:
        """Freeze the finished network and find out ``prior_dim``."""
        self.requires_grad_(False)
        for child in self.children():
            child.eval()  # not a flag: an extractor of torchvision changes its graph, too
            # as its images are
            child.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.training = False
        if not hasattr(self, 'prior_dim'):
            height, width = self.preprocessing.out_size or (64, 64)
            with torch.no_grad():
                features = self.extract(torch.zeros(1, 3, height, width))
            self.prior_dim = self._as_prior(features).shape[1]

    def train(self, mode: bool = True) -> 'PriorEncoder':
        """Stay in evaluation mode."""
        return self

    @torch.no_grad()
    def forward(self, img: Tensor) -> Tensor:
        """Encode images (N, 3, H, W), float RGB in [0, 1], to priors (N, D), float32.

        Raises:
            ValueError: The images have another shape, type or range.
        """
        self._check_images(img)
        img = self.preprocessing(img.float())
        return self._as_prior(self.extract(img.contiguous(memory_format=torch.channels_last)))

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode images (N, H, W, 3), uint8 RGB, on any device, in the encoder's precision.

        Returns:
            Tensor: Priors (N, D), float32, on the encoder's device.
        """
        device, dtype = self.device, self.dtype
        images = pixels.to(device, non_blocking=True).permute(0, 3, 1, 2)
        images = images.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        with torch.autocast(device.type, dtype, dtype != torch.float32):
            return self(images).float()

    @property
    def device(self) -> torch.device:
        """torch.device: Where the encoder is."""
        tensors = chain(self.parameters(), self.buffers())
        return next((value.device for value in tensors), torch.device('cpu'))

    @property
    def dtype(self) -> torch.dtype:
        """torch.dtype: In which type :meth:`encode` computes where the encoder is."""
        return choose_precision(self.precision, self.device)[0]

    def describe(self) -> dict[str, str]:
        """Name the parts of the fingerprint, to tell what differs between two encoders."""
        if self._weights_hash is None:
            self._weights_hash = hash_tensors(self.state_dict().items())
        precision = self.precision
        if precision == 'auto':
            precision = str(self.dtype).removeprefix('torch.')
        return {
            'architecture': self.architecture,
            'layer': self.layer,
            'preprocessing': self.preprocessing.describe(),
            'weights': self._weights_hash,
            'precision': precision,
        }

    def fingerprint(self) -> str:
        """Identify the encoder by 64 digits: equal fingerprints give equal priors."""
        parts = self.describe()
        if parts['precision'] == 'float32':
            del parts['precision']
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _as_prior(self, features: Tensor) -> Tensor:
        if features.dim() == 4:
            features = features.mean(dim=(2, 3))
        if features.dim() != 2:
            raise ValueError(
                f'layer {self.layer!r} of {self.architecture} gives features of shape '
                f'{tuple(features.shape)}, but a prior is (N, D) or, averaged over its positions, '
                '(N, D, h, w); name another layer'
            )
        return features.float()

    def _check_images(self, img: Tensor) -> None:
        if img.dim() != 4 or img.shape[1] != 3 or not img.is_floating_point():
            raise ValueError(
                'an encoder takes float images of shape (N, 3, H, W), RGB in [0, 1], but got '
                f'{tuple(img.shape)} of {img.dtype}'
            )
        if img.numel() == 0 or (self._is_range_seen and img.is_cuda):
            return  # looking at every batch would make a GPU wait for it
        low, high = (value.item() for value in torch.aminmax(img.detach()))
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # also true for NaN
            raise ValueError(
                f'an encoder takes images in [0, 1], but these lie in [{low:.3g}, {high:.3g}]; '
                'divide 8-bit images by 255, and turn [-1, 1] to [0, 1] by (img + 1) / 2'
            )
        self._is_range_seen = True


def hash_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Hash names, types, shapes and values of tensors, in any order and on any device.

    Counts of batches seen are left out: no output depends on them.
    """
    digest = hashlib.sha256()
    for name, value in sorted(tensors, key=lambda item: item[0]):
        if name.endswith('num_batches_tracked'):
            continue
        value = value.detach().cpu().contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        # a view as bytes, since NumPy knows no bfloat16
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
