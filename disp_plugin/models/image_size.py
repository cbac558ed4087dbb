"""The size of images: one for both networks of a GAN, among those that mmagic can build."""

import inspect
from collections.abc import Iterable, Mapping

from mmagic.registry import MODELS
from torch import nn

BIGGAN_SCALES = (32, 64, 128, 256, 512)
"""Sizes for which mmagic's BigGAN has an architecture of its own."""

STYLEGAN2_SCALES = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Sizes that mmagic's StyleGAN2 can be built for."""

SIZE_FIELDS = ('output_scale', 'input_scale', 'out_size', 'in_size')
"""Arguments and attributes by which mmagic's networks state the size of images."""

WRAPPED = ('generator', 'discriminator')
"""Names of the wrapped network in networks that wrap one."""


def with_size(network: dict | nn.Module | None, image_size: int | None) -> dict | nn.Module | None:
    """Return a network's config with an image size, in it or in the network that it wraps.

    A network that is built is left as it is, and so is a config where the size is None.

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


def check_sizes_agree(generator: nn.Module, discriminator: nn.Module | None) -> int | None:
    """Return the image size of two built networks; None where the generator does not state it.

    Raises:
        ValueError: The networks have different sizes.
    """
    made, seen = _size_of(generator), _size_of(discriminator)
    if None not in (made, seen) and made != seen:
        raise ValueError(
            f'the generator makes images of {made} px, but the discriminator takes {seen} px; '
            'state the size once, in model.image_size'
        )
    return made


def check_scale(scale: int, scales: Iterable[int], network: str, arch_field: str = '') -> None:
    """Raise ValueError if mmagic has no architecture for an image size.

    ``arch_field``, if there is one, states an architecture for any other size than ``scales``.
    """
    if scale not in scales:
        way_out = f', or state the architecture in {arch_field}' if arch_field else ''
        raise ValueError(
            f'{network} has no architecture for images of {scale} px; set image_size to one of '
            f'{", ".join(map(str, sorted(scales)))}{way_out}'
        )


def check_stylegan2_scale(scale: int, channel_base: int, channel_max: int, network: str) -> None:
    """Raise ValueError if StyleGAN2 cannot be built for an image size and a width."""
    check_scale(scale, STYLEGAN2_SCALES, network)
    widths = (('channel_base', channel_base, scale), ('channel_max', channel_max, 1))
    for name, value, least in widths:
        if not isinstance(value, int) or value < least:
            raise ValueError(
                f'{name} of {network} must be a whole number from {least}, but is {value!r}'
            )


def _size_field(kind: str | type) -> str | None:
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
