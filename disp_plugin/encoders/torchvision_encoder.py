"""Classifiers of torchvision as encoders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmagic.registry import MODELS
from torch import nn

from .backbone import (
    LOGITS,
    POOLED,
    build_torchvision,
    cut_at,
    drop_last_linear,
    load_all,
    read_checkpoint,
    seeded,
)
from .base_encoder import Preprocessing, PriorEncoder
from .fetch_weights import cached_file, check_hash, fetch_url

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum


@MODELS.register_module()
class TorchvisionEncoder(PriorEncoder):
    """The last features of a classifier of torchvision.

    With ``vgg16`` the prior is fc7: the 4096 activations behind the ReLU of the last hidden layer
    (``classifier.4``; the dropout behind it does nothing here), which the classes are a linear
    function of. The paper says only "last layer activations" of Vgg16; the 1000 logits are the
    other reading, ``layer='logits'``. With ``resnet50`` the prior is the 2048 pooled features.

    Preprocessing is that of the weights: for most a resize of the shorter side to 256, a central
    crop of 224 and ImageNet's mean and standard deviation.

    Args:
        model (str): A classifier of ``torchvision.models``. Defaults to 'vgg16'.
        layer (str | None): ``'fc7'`` or ``'fc6'`` of a VGG; ``'logits'``; the name of a module or
            node of the network, whose output is averaged over its positions. None takes the
            features that enter the last linear layer, for a VGG fc7. Defaults to None.
        checkpoint (str | None): A state dict of this model with its head, ``.pth`` or
            ``.safetensors``. None takes torch's cache. Defaults to None.
        weights (str | None): Which of torchvision's weights, also for the preprocessing of a
            ``checkpoint``. None is 'IMAGENET1K_V1', the one that the paper could use. Defaults to
            None.
        download (bool): Whether to download weights that are not cached. Defaults to True.
        preprocessing (dict | None): Another ``Preprocessing`` than that of the weights. Defaults to
            None.
        untrained (bool): Whether to leave the network untrained, as the control to compare with.
            Defaults to False.
        seed (int): Seed of an untrained network. Defaults to 0.
        precision (str): In which type it computes, as in
            :func:`~disp_plugin.precision.choose_precision`. Defaults to 'float32'.

    Raises:
        FileNotFoundError: The weights are neither cached nor downloaded, or ``checkpoint`` is
            missing.
        ValueError: No such model, weights or layer, or a checkpoint of another model.
    """

    def __init__(
        self,
        model: str = 'vgg16',
        layer: str | None = None,
        checkpoint: str | None = None,
        weights: str | None = None,
        download: bool = True,
        preprocessing: dict | Preprocessing | None = None,
        untrained: bool = False,
        seed: int = 0,
        precision: str = 'float32',
    ) -> None:
        published = find_weights(model, weights)
        if preprocessing is None:
            preprocessing = read_preprocessing(published)
        if layer is None:
            layer = 'fc7' if model.startswith('vgg') else POOLED
        super().__init__(
            f'torchvision/{model}', layer, Preprocessing.from_options(preprocessing), precision
        )
        if untrained:
            with seeded(seed):
                network = build_torchvision(model)
        else:
            network = _load(model, checkpoint, published, download)
        self.network = _cut(network, layer, model)
        self.seal()


def find_weights(model: str, weights: str | None = None) -> WeightsEnum:
    """Find published weights of a classifier.

    Args:
        model (str): A classifier of ``torchvision.models``.
        weights (str | None): Their name. None is 'IMAGENET1K_V1', or where there is none
            torchvision's default. Defaults to None.

    Raises:
        ValueError: No such model or weights.
    """
    import torchvision  # here, since it takes a second that sampling does not need

    models = torchvision.models.list_models(torchvision.models)
    if model not in models:
        raise ValueError(f'torchvision has no classifier {model!r}; it has {", ".join(models)}')
    enum = torchvision.models.get_model_weights(model)
    names = [entry.name for entry in enum]
    if weights is None:
        weights = 'IMAGENET1K_V1' if 'IMAGENET1K_V1' in names else 'DEFAULT'
    if weights not in (*names, 'DEFAULT'):
        raise ValueError(
            f'torchvision has no weights {weights!r} of {model}; it has {", ".join(names)}'
        )
    return enum[weights]


def read_preprocessing(weights: WeightsEnum) -> Preprocessing:
    """Read the steps of the evaluation transform of torchvision's weights."""
    transform = weights.transforms()
    (resize,), (crop,) = transform.resize_size, transform.crop_size
    mode = transform.interpolation.value
    return Preprocessing(resize, (crop, crop), tuple(transform.mean), tuple(transform.std), mode)


def _load(model: str, checkpoint: str | None, published: WeightsEnum, download: bool) -> nn.Module:
    # The weights are replaced at once, and drawing those of some networks takes seconds.
    undrawn = model.startswith(('vgg', 'googlenet', 'inception'))
    with seeded(0):
        network = build_torchvision(model, **({'init_weights': False} if undrawn else {}))
    if checkpoint is None:
        file = fetch_url(published.url, f'torchvision/{model} ({published.name})', download)
    else:
        file = Path(checkpoint)
        if file.name == cached_file(published.url).name and file.is_file():
            check_hash(file)
    load_all(network, read_checkpoint(file)[0], file)
    return network


def _cut(network: nn.Module, layer: str, model: str) -> nn.Module:
    if model.startswith('vgg'):
        layer = {'fc6': 'classifier.1', 'fc7': POOLED}.get(layer, layer)
    if layer == LOGITS:
        return network
    return drop_last_linear(network, model) if layer == POOLED else cut_at(network, layer, model)
