"""The size of images: one for both networks of a GAN, among those that mmagic can build."""

import inspect
import io
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from typing import Any

import torch
from mmagic.models.editors.biggan import BigGAN
from mmagic.models.editors.sagan import SAGAN
from mmagic.models.editors.stylegan2 import StyleGAN2
from mmagic.registry import MODELS
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

BIGGAN_SCALES = (32, 64, 128, 256, 512)
"""Sizes for which mmagic's BigGAN has an architecture of its own."""

DISCRIMINATOR_SCALES = {
    'BigGANDiscriminator': (BIGGAN_SCALES, 'arch_cfg'),
    'ProjDiscriminator': ((32, 64, 128), 'channels_cfg'),
}
"""mmagic's discriminators -> the sizes that they know, and the field that states other layers."""

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
        ValueError: The network states another size, or has no architecture for this one.
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
    sizes, arch_field = DISCRIMINATOR_SCALES.get(str(kind), ((), ''))
    layers = config.get(arch_field)
    if arch_field == 'channels_cfg' and isinstance(layers, Mapping):  # channels by size
        sizes, layers = tuple(layers), None
    if sizes and not layers:
        check_scale(image_size, sizes, str(kind), arch_field)
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


def check_made_sizes(model: Mapping[str, Any], data_size: int | tuple[int, int] | None) -> None:
    """Check each stated size of images against what the networks really make and take.

    The networks of a config are built and run on torch's meta device, whose tensors have shapes
    but no values: no random number is drawn. Models that are no SNGAN, BigGAN or StyleGAN2, of
    this package or of mmagic, are left alone.

    Args:
        model (dict): Config of the GAN.
        data_size (int | tuple[int, int] | None): Height and width of the training images; None
            where they are not known.

    Raises:
        ValueError: A stated size is another than the generator's images have, or the discriminator
            cannot take the training images.
    """
    cls = MODELS.get(model['type']) if isinstance(model['type'], str) else model['type']
    if not inspect.isclass(cls) or not issubclass(cls, SAGAN | BigGAN | StyleGAN2):
        return
    config = {name: value for name, value in model.items() if name != 'pretrained'}
    try:
        with torch.device('meta'), torch.no_grad(), redirect_stdout(io.StringIO()):
            gan: Any = MODELS.build(config).eval()
            with _StayOnMeta():
                made = _generate(gan, 2)
                stated = {'model.image_size': model.get('image_size')}
                for name in WRAPPED:
                    size = _stated_in(model.get(name)) or _size_of(getattr(gan, name))
                    stated[f'the size stated for the {name}'] = size
                _compare(made, {**stated, 'the size of the training images': data_size})
                _score(gan, made)
    except RuntimeError as error:
        if 'meta' in str(error):
            return  # a network of the user's that needs values; the training step compares, too
        raise ValueError(f'the networks do not fit together: {_first_line(error)}') from error


def _compare(made: tuple[int, int], stated: Mapping[str, int | tuple[int, int] | None]) -> None:
    pairs = {k: (v, v) if isinstance(v, int) else tuple(v) for k, v in stated.items() if v}
    wrong = [f'{name} is {h} x {w}' for name, (h, w) in pairs.items() if (h, w) != made]
    if wrong:
        raise ValueError(
            f'the generator makes images of {made[0]} x {made[1]} px, but {", ".join(wrong)}; set '
            f'image_size={made[0]}, or give the networks the layers of another size (channels_cfg '
            'and downsample_cfg, or arch_cfg)'
        )


class _StayOnMeta(TorchFunctionMode):
    """Leave meta tensors where they are; mmengine takes a network there to be on the CPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is Tensor.to and args[0].is_meta and isinstance(args[1], torch.device):
            return args[0]
        return func(*args, **(kwargs or {}))


def _generate(gan: Any, num: int) -> tuple[int, int]:
    """Return height and width of generated images."""
    prior_dim = getattr(gan, 'prior_dim', 0)
    options = {'prior': torch.empty(num, prior_dim)} if prior_dim else {}
    # not by calling it, which may be compiled
    images = gan.generator.forward(
        torch.empty(num, gan.noise_size), num_batches=num, return_noise=False, **options
    )
    return images.shape[2], images.shape[3]


def _score(gan: Any, size: tuple[int, int]) -> None:
    """Raise ValueError if the discriminator cannot take images of a size."""
    if gan.discriminator is None:
        return
    options: dict[str, Tensor] = {}
    if getattr(gan, 'prior_dim', 0):
        options['prior'] = torch.empty(2, gan.prior_dim)
    elif getattr(gan, 'num_classes', None):
        options['label'] = torch.empty(2, dtype=torch.long)
    try:
        gan.discriminator.forward(torch.empty(2, 3, *size), **options)
    except RuntimeError as error:
        if 'meta' in str(error):
            raise
        raise ValueError(
            f'the discriminator takes no images of {size[0]} x {size[1]} px, which the generator '
            f'makes ({_first_line(error)}); give it the layers of that size (channels_cfg and '
            'downsample_cfg, or arch_cfg)'
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split('\n')[0]


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


def _stated_in(network: object) -> int | None:
    """Find the size that a network's config states, in it or in the network that it wraps."""
    while isinstance(network, Mapping):
        found = [network[field] for field in SIZE_FIELDS if isinstance(network.get(field), int)]
        if found:
            return found[0]
        network = next((network[name] for name in WRAPPED if name in network), None)
    return None
