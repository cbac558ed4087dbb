"""The contract of every encoder."""

import hashlib
import json
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import LongTensor, Tensor, nn

from .preprocessing import Preprocessing


class PriorEncoder(nn.Module):
    """The frozen feature extractor C: images in, data instance priors out.

    A child sets itself up in its ``__init__`` and ends it with :meth:`seal`, which freezes it, and
    implements :meth:`extract`. An encoder stays in evaluation mode whatever its owner does, never
    builds a graph, and gives an image the same prior in every batch.

    Shapes: N batch, H and W any size, D ``prior_dim``.

    Args:
        architecture (str): Name of the network, a part of the fingerprint.
        layer (str): Which activations are the prior, a part of the fingerprint.
        preprocessing (Preprocessing): What is done to the images before the network sees them.

    Attributes:
        prior_dim (int): D, length of a prior.
        knows_unseen_images (bool): Whether it can encode images that are not in its bank.
    """

    prior_dim: int
    knows_unseen_images: ClassVar[bool] = True

    def __init__(self, architecture: str, layer: str, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.architecture = architecture
        self.layer = layer
        self.preprocessing = preprocessing
        self._weights_hash: str | None = None
        self._is_range_seen = False

    def extract(self, img: Tensor) -> Tensor:
        """Compute the features of preprocessed images.

        Args:
            img (Tensor): (N, 3, h, w), normalized, as ``preprocessing`` leaves it.

        Returns:
            Tensor: (N, D), or (N, D, h', w'), which is then averaged over its positions.
        """
        raise NotImplementedError

    def seal(self) -> None:
        """Freeze the finished network and find out ``prior_dim``."""
        self.requires_grad_(False)
        for child in self.children():
            child.eval()  # not a flag: an extractor of torchvision changes its graph, too
        self.training = False
        if not hasattr(self, 'prior_dim'):
            height, width = self.preprocessing.out_size or (64, 64)
            with torch.no_grad():
                self.prior_dim = self._as_prior(
                    self.extract(torch.zeros(1, 3, height, width))
                ).shape[1]

    def train(self, mode: bool = True) -> 'PriorEncoder':
        """Stay in evaluation mode.

        Args:
            mode (bool): Ignored. Defaults to True.

        Returns:
            PriorEncoder: Itself.
        """
        return self

    @torch.no_grad()
    def forward(self, img: Tensor) -> Tensor:
        """Encode images.

        Args:
            img (Tensor): (N, 3, H, W) float, RGB in [0, 1].

        Returns:
            Tensor: (N, D) float32, without a graph.

        Raises:
            ValueError: The images have another shape, type or range.
        """
        self._check_images(img)
        return self._as_prior(self.extract(self.preprocessing(img.float())))

    def encode(self, img: Tensor, rows: LongTensor) -> Tensor:
        """Encode images whose rows in the bank are known.

        Args:
            img (Tensor): (N, 3, H, W) float, RGB in [0, 1].
            rows (LongTensor): (N,) row of each image in the bank; most encoders ignore it.

        Returns:
            Tensor: (N, D) float32.
        """
        return self(img)

    def describe(self) -> dict[str, str]:
        """Name what the fingerprint covers, so that a mismatch can be named.

        Returns:
            dict[str, str]: ``architecture``, ``layer``, ``preprocessing`` and ``weights`` (a hash).
        """
        if self._weights_hash is None:
            self._weights_hash = hash_tensors(self.state_dict().items())
        return {
            'architecture': self.architecture,
            'layer': self.layer,
            'preprocessing': self.preprocessing.describe(),
            'weights': self._weights_hash,
        }

    def fingerprint(self) -> str:
        """Identify the encoder: equal fingerprints give equal priors.

        Returns:
            str: 64 hexadecimal digits.
        """
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()

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
    """Hash named tensors: names, types, shapes and values.

    Args:
        tensors (Iterable[tuple[str, Tensor]]): In any order and on any device. Counts of batches
            seen, which no output depends on, are left out.

    Returns:
        str: 64 hexadecimal digits.
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
