"""Networks by name, from torchvision or timm, ready to give features."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

LOGITS = 'logits'
POOLED = 'pooled'


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a seed inside, and leave the run's own random numbers as they were.

    Args:
        seed (int): The seed.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed the GPUs, too, which are not restored here
        torch.default_generator.manual_seed(seed)
        yield


def find_library(arch: str) -> tuple[str, str]:
    """Say which library has a network.

    Args:
        arch (str): ``'resnet50'``, looked for in torchvision and then in timm, or with the library,
            ``'timm/resnet50'`` and ``'torchvision/resnet50'``.

    Returns:
        tuple[str, str]: The library and the name there.

    Raises:
        ValueError: No such network; the message names similar ones.
    """
    import timm
    import torchvision

    library, _, name = arch.rpartition('/')
    known = {
        'torchvision': torchvision.models.list_models(torchvision.models),
        'timm': timm.list_models(),
    }
    for candidate in [library] if library else list(known):
        # timm's names may end with a tag of their weights
        if candidate in known and name.split('.')[0] in known[candidate]:
            return candidate, name
    similar = get_close_matches(name, {n for names in known.values() for n in names})
    raise ValueError(
        f'there is no network {arch!r} in torchvision or timm'
        + (f'; similar names: {", ".join(similar)}' if similar else '')
    )


def spell_arguments(arguments: dict[str, Any] | None) -> str:
    """Write a network's arguments for its fingerprint, whether they came as lists or tuples.

    Args:
        arguments (dict | None): The arguments.

    Returns:
        str: To be put behind the network's name; empty without arguments.
    """
    return ' ' + json.dumps(arguments, sort_keys=True, default=str) if arguments else ''


def build_backbone(arch: str, arch_kwargs: dict[str, Any] | None = None) -> nn.Module:
    """Build an untrained network without its classification head.

    Args:
        arch (str): Name, as for :func:`find_library`.
        arch_kwargs (dict | None): Further arguments of the network. Defaults to None.

    Returns:
        nn.Module: (N, 3, H, W) -> (N, D) pooled features.

    Raises:
        ValueError: No such network, or no such argument.
    """
    library, name = find_library(arch)
    try:
        if library == 'timm':
            import timm

            return timm.create_model(name, num_classes=0, **(arch_kwargs or {}))
        network = build_torchvision(name, **(arch_kwargs or {}))
    except TypeError as error:
        raise ValueError(f'{arch} cannot be built with {arch_kwargs}: {error}') from error
    drop_last_linear(network, name)
    return network


def build_torchvision(name: str, **kwargs: Any) -> nn.Module:
    """Build an untrained classifier of torchvision.

    Args:
        name (str): Its name.
        **kwargs: Its further arguments.

    Returns:
        nn.Module: The classifier.
    """
    import torchvision

    if name in ('googlenet', 'inception_v3'):
        kwargs.setdefault('init_weights', True)
    return torchvision.models.get_model(name, weights=None, **kwargs)


def drop_last_linear(network: nn.Module, name: str) -> None:
    """Take the classification layer off, so that the features before it come out.

    Args:
        network (nn.Module): Changed in place.
        name (str): Its name, for the error.

    Raises:
        ValueError: It does not end with a linear layer.
    """
    linears = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ValueError(
            f'{name} does not end with a linear layer, so that its last features are not plain to '
            f'see; set layer= to one of: {", ".join(n for n, _ in network.named_children())}'
        )
    parent, _, child = linears[-1].rpartition('.')
    setattr(network.get_submodule(parent), child, nn.Identity())


def cut_at(network: nn.Module, layer: str, name: str) -> nn.Module:
    """Keep of a network what leads to one of its layers.

    Args:
        network (nn.Module): The network.
        layer (str): A module or a node of its graph, as torchvision's feature extraction names it.
        name (str): The network's name, for the error.

    Returns:
        nn.Module: (N, 3, H, W) -> the layer's output.

    Raises:
        ValueError: No such layer.
    """
    from torchvision.models.feature_extraction import create_feature_extractor

    try:
        extractor = create_feature_extractor(network.eval(), {layer: 'features'})
    except ValueError as error:
        names = [n for n, _ in network.named_modules() if n]
        similar = get_close_matches(layer, names, n=8, cutoff=0.4) or names[-8:]
        raise ValueError(
            f'{name} has no layer {layer!r}; some it has: {", ".join(similar)}'
        ) from error
    return _OneOutput(extractor.eval())


class _OneOutput(nn.Module):
    """Unwrap the dict that a feature extractor gives."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return self.extractor(img)['features']
