"""The spaces that metrics compare images in: Inception's features, and plain pixels."""

import io
from pathlib import Path

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from disp_plugin.weights import list_some, read_weights

from .backbone import seeded
from .base_encoder import Preprocessing, PriorEncoder
from .fetch_weights import fetch_url, find_local

URL = (
    'https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/'
    'weights-inception-2015-12-05-6726825d.pth'
)
SIZE = 299
GRAY = 128 / 255


@MODELS.register_module()
class InceptionEncoder(PriorEncoder):
    """The pool3 features, 2048-d, of the Inception network that published FIDs rest on.

    The network is torch-fidelity's: plain PyTorch with a state dict as its weights, which can be
    loaded without executing anything; clean-fid's TorchScript archive cannot. Images are resized as
    in clean-fid (Parmar et al. 2022, arXiv 2104.11222: bicubic, antialiased, not rounded to 8
    bits), or as in the original TensorFlow code (bilinear, aliased).

    Args:
        resize (str): 'clean' or 'legacy'. Defaults to 'clean'.
        checkpoint (str | None): A copy of the weights, which pytorch-fid and torch-fidelity
            publish. Defaults to None: torch's cache, or downloaded.

    Raises:
        FileNotFoundError: The weights are not at hand; the message says what to put where.
        ValueError: ``resize`` is unknown, or the file holds other weights.
    """

    def __init__(self, resize: str = 'clean', checkpoint: str | None = None) -> None:
        if resize not in ('clean', 'legacy'):
            raise ValueError(f"resize must be 'clean' or 'legacy', but is {resize!r}")
        self_resizing = (SIZE, SIZE) if resize == 'clean' else None
        steps = Preprocessing(self_resizing, None, (GRAY,) * 3, (GRAY,) * 3, 'bicubic')
        super().__init__('inception-2015-12-05', f'pool3, {resize} resize', steps)
        self.is_legacy = resize == 'legacy'
        if checkpoint is None:
            file = fetch_url(URL, 'Inception (FID)')
        else:
            file = find_local(checkpoint, f'; fetch {URL} where there is a network')
        self.network = _build_inception(file)
        self.prior_dim = 2048
        self.seal()

    def extract(self, img: Tensor) -> Tensor:
        """Compute the pool3 features of images in [-1, 1]."""
        if self.is_legacy:
            from torch_fidelity.interpolate_compat_tensorflow import (
                interpolate_bilinear_2d_like_tensorflow1x as resize,
            )

            img = resize(img, size=(SIZE, SIZE), align_corners=False)
        return self.network(img).flatten(1)


def _build_inception(file: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    state = read_weights(file).content
    try:
        # The library reads a file itself, and would execute what it brings: it gets a clean copy.
        copy = io.BytesIO()
        torch.save(state, copy)
        copy.seek(0)
        with seeded(0):  # it draws weights before it loads others
            network = FeatureExtractorInceptionV3('inception', ['2048'], copy)
    except Exception as error:  # of many kinds: of names and shapes
        raise ValueError(
            f'{file} does not hold the state dict of the Inception network of FID: it has '
            f'{list_some(state)}, and Conv2d_1a_3x3.conv.weight and others are wanted; fetch {URL}'
        ) from error
    layers = list(network.children())
    return nn.Sequential(*layers[:-1])  # in the order of its forward, without the classifier


@MODELS.register_module()
class PixelEncoder(PriorEncoder):
    """Describe an image by its pixels, resized to a small size (bilinear, antialiased).

    As the space of a metric it needs no weights and favors no encoder; it suits small, aligned
    images such as digits. As an encoder of priors it is a control.

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
        """Flatten pixels to (N, size * size), or three times as many with ``color``."""
        return (img if self.color else img.mean(dim=1)).flatten(1)
