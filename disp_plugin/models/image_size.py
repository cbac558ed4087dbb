"""One image size for a GAN and its networks, whatever each of them calls it."""

import inspect
from collections.abc import Mapping
from typing import Any

from mmagic.registry import MODELS
from torch import nn

SIZE_FIELDS = ('output_scale', 'input_scale', 'out_size', 'in_size')
"""Arguments and attributes by which mmagic's networks state the size of images."""

WRAPPED = ('generator', 'discriminator')
"""Where a network that wraps another one keeps it."""


def with_size(network: Any, image_size: int | None) -> Any:
    """Hand an image size to a network's config, or to that of the network it wraps.

    Args:
        network (dict | nn.Module | None): Config of a network; a built one is left as it is.
        image_size (int | None): Height and width in pixels; None leaves the config as it is.

    Returns:
        dict | nn.Module | None: The config, changed in a copy.

    Raises:
        ValueError: The network states another size.
    """
    if not isinstance(network, Mapping) or image_size is None:
        return network
    config = dict(network)
    kind = config['type']
    for name in WRAPPED:
        if isinstance(config.get(name), Mapping):
            return {**config, name: with_size(config[name], image_size)}
        if isinstance(config.get(name), str):
            kind = config[name]
    field = _size_field(kind)
    if field is None:
        return config
    if config.get(field) not in (None, image_size):
        raise ValueError(
            f'image_size of the model is {image_size}, but {field} of its {kind} is '
            f'{config[field]}; state the size once, in model.image_size'
        )
    return {**config, field: image_size}


def check_sizes_agree(generator: Any, discriminator: Any) -> int | None:
    """Find the size of images of two built networks.

    Args:
        generator (nn.Module): The generator, wrapped or not.
        discriminator (nn.Module | None): The discriminator, wrapped or not.

    Returns:
        int | None: Height and width in pixels; None where the generator does not say it.

    Raises:
        ValueError: They have two.
    """
    made, seen = _size_of(generator), _size_of(discriminator)
    if None not in (made, seen) and made != seen:
        raise ValueError(
            f'the generator makes images of {made} px, but the discriminator takes {seen} px; '
            'state the size once, in model.image_size'
        )
    return made


def _size_field(kind: Any) -> str | None:
    cls = MODELS.get(kind) if isinstance(kind, str) else kind
    for part in getattr(cls, '__mro__', ()):
        parameters = inspect.signature(part.__init__).parameters
        found = [field for field in SIZE_FIELDS if field in parameters]
        if found:
            return found[0]
    return None


def _size_of(network: nn.Module | None) -> int | None:
    while network is not None:
        for field in SIZE_FIELDS:
            size = getattr(network, field, None)
            if isinstance(size, int):
                return size
        network = next((getattr(network, n) for n in WRAPPED if hasattr(network, n)), None)
    return None
