"""Bring a checkpoint's weights into the model's form: colors, spectral norms; or refuse them."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .checkpoint_file import CONVERTERS

# Last layers of the generators, and first of the discriminators, behind any prefix. Those of a
# BigGAN's first block go by the names of an SNGAN's second, which takes more than three channels.
STYLED_TO_RGB = r'(?:.+\.)?(?:to_rgb1|to_rgbs\.\d+)\.(?:bias|conv\.weight_orig)'
TO_RGB = r'(?:.+\.)?(?:output_layer|to_rgb)\.conv\.(?P<leaf>\w+)'
FROM_RGB = (
    r'(?:.+\.)?(?:convs\.0\.0|from_rgb\.(?:conv_1|shortcut)'
    r'|discriminator\.conv_blocks\.0\.(?:conv1|shortcut))\.conv\.weight(?:_orig|_v)?'
)

# Matrices from the condition to a norm's channels: as wide as the condition, which may be another,
# as in a self-modulated BigGAN. StyleGAN2 has none.
CONDITION_ENTRIES = ('.gain.', '.bias.')
# What each run measures anew, and what a prior or a miner brings or what can be computed.
ANEW = ('.ada_aug.', '.augmentation.', '.mined_updates')
OWN_ENTRIES = ('.prior_projection.', '.miner.', '.w_avg', *ANEW)


def flip_colors(state: dict[str, Tensor]) -> None:
    """Turn networks for RGB images into networks for BGR images, or back, in place.

    Entries have mmagic's names behind any prefix. A spectral norm's vectors turn with its weight.
    """
    flipped = {}
    for name, value in state.items():
        if re.fullmatch(STYLED_TO_RGB, name):
            flipped[name] = value.flip(1)
        elif match := re.fullmatch(TO_RGB, name):
            if match['leaf'] in ('weight', 'weight_orig', 'bias', 'weight_u', 'u0'):
                flipped[name] = value.flip(1 if match['leaf'] == 'u0' else 0)
        elif re.fullmatch(FROM_RGB, name) and _takes_images(state, name):
            is_vector = value.ndim == 1
            flipped[name] = value.view(3, -1).flip(0).flatten() if is_vector else value.flip(1)
    state.update(flipped)


def _takes_images(state: dict[str, Tensor], name: str) -> bool:
    return state[re.sub('weight_v$', 'weight_orig', name)].shape[1] == 3


def match_spectral_norm(source: dict[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """Turn one kind of spectral norm into the other where the model has another than the source.

    Both divide a weight by an estimate of its largest singular value. torch keeps the two vectors
    of the estimate; BigGAN-PyTorch and Chainer keep one, and take a step of the power method at
    each use. That step is taken here, so the estimate in evaluation is the same.

    ``source``, the checkpoint's entries, is changed in place. Returns the layers that are
    normalized in the model or the checkpoint, and not in the other.
    """
    one_sided = []
    for layer in dict.fromkeys(key.rpartition('.')[0] for key in target if '.weight' in key):
        ours, theirs = _find_norm(target, layer), _find_norm(source, layer)
        if ours is None or theirs is None or ours == theirs:
            continue
        if 'plain' in (ours, theirs):
            one_sided.append(layer)
        elif ours == 'torch':
            weight, u = source.pop(f'{layer}.weight'), source.pop(f'{layer}.u0')
            source.pop(f'{layer}.sv0', None)
            rows = weight.flatten(1)
            v = normalize(u[0] @ rows, dim=0)
            source[f'{layer}.weight_orig'] = weight
            source[f'{layer}.weight_u'] = normalize(rows @ v, dim=0)
            source[f'{layer}.weight_v'] = v
        else:
            weight, u = source.pop(f'{layer}.weight_orig'), source.pop(f'{layer}.weight_u')
            v = source.pop(f'{layer}.weight_v')
            source[f'{layer}.weight'] = weight
            source[f'{layer}.u0'] = u[None]
            source[f'{layer}.sv0'] = (u @ weight.flatten(1) @ v)[None]
    return one_sided


def check_norms(source: dict[str, Tensor], target: Mapping[str, Tensor]) -> str | None:
    """Match spectral norms, and say what differs where only one side has one.

    A norm of a condition may differ, as the condition may.
    """
    layers = [
        layer
        for layer in match_spectral_norm(source, target)
        if not any(part in f'{layer}.' for part in CONDITION_ENTRIES)
    ]
    if not layers:
        return None
    side = 'checkpoint' if _find_norm(target, layers[0]) == 'plain' else 'model'
    return (
        f'{layers[0]} is divided by its spectral norm in the {side} only ({len(layers)} such '
        f'layers); set with_spectral_norm={side == "checkpoint"} in the config of that network'
    )


def _find_norm(state: Mapping[str, Tensor], layer: str) -> str | None:
    """Tell how a state dict keeps a layer's weight; None where it has no matrix there."""
    if f'{layer}.weight_u' in state:
        return 'torch'
    if f'{layer}.u0' in state:
        return 'ajbrock'
    weight = state.get(f'{layer}.weight')
    return 'plain' if weight is not None and weight.ndim > 1 else None


def check_networks(
    networks: Iterable[str],
    source: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    loaded: Iterable[str],
) -> str | None:
    """Say what differs if no weights match, or if a network matches only in part.

    ``networks`` are the prefixes of the model's networks, ``source`` the checkpoint's entries under
    the model's names, ``loaded`` those of ``target`` that would take the checkpoint's value.
    """
    networks, loaded = tuple(networks), set(loaded)
    is_stylegan2 = any(key.endswith('generator.constant_input.input') for key in target)
    for network in networks:
        fault = _check_network(network, source, target, loaded, is_stylegan2)
        if fault is not None:
            return fault
    if not any(key.startswith(networks) for key in loaded):
        return (
            f'no weights match: none of its {len(source)} entries has a place, first '
            f'{list(source)[:3]}; {CONVERTERS}'
        )
    return None


def _check_network(
    network: str,
    source: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    loaded: set[str],
    is_stylegan2: bool,
) -> str | None:
    theirs = {key for key in source if key.startswith(network)}
    ours = {key for key in target if key.startswith(network)}
    if not theirs or not ours:
        return None
    problems = [
        f'{key} is {tuple(source[key].shape)} in the checkpoint and {tuple(target[key].shape)} '
        'in the model'
        for key in target
        if key in ours & theirs and source[key].shape != target[key].shape
        if not any(part in key for part in (*CONDITION_ENTRIES, *ANEW))
    ]
    if not problems and ours.isdisjoint(loaded):
        problems = [f'none of the {len(theirs)} entries of {network}* has a place in the model']
    if is_stylegan2:
        problems += _find_strangers(theirs, ours)
        problems += [
            f'{key} is another: the model blurs otherwise than the checkpoint'
            for key in sorted(ours & loaded)
            if key.endswith('.kernel')
            if not torch.allclose(source[key].to(target[key]), target[key])
        ]
    if not problems:
        return None
    hint = 'is it of the same architecture, resolution and width?'
    sizes = count_pixels(theirs), count_pixels(ours)
    if is_stylegan2 and None not in sizes:
        hint = (
            f'both are of {sizes[0]} px; channel_multiplier, channel_base, channel_max, '
            'style_channels and num_mlps set the shapes, and prior_dim where it has priors'
            if sizes[0] == sizes[1]
            else f'the checkpoint is of {sizes[0]} px, the model of {sizes[1]} px; '
            "model.image_size sets the model's resolution"
        )
    return f'{"; ".join(problems[:3])} ({len(problems)} such differences); {hint}'


def _find_strangers(theirs: set[str], ours: set[str]) -> list[str]:
    one_sided = [
        *((key, 'the model lacks it') for key in sorted(theirs - ours)),
        *((key, 'the checkpoint lacks it') for key in sorted(ours - theirs)),
    ]
    return [
        f'{key}: {side}'
        for key, side in one_sided
        if not any(own in f'.{key}' for own in OWN_ENTRIES)
    ]


def count_pixels(names: set[str]) -> int | None:
    """Tell the size of the images of a StyleGAN2 network by its names, behind any prefix."""
    doubling = r'(?:.+\.)?(to_rgbs\.\d+\.bias|convs\.\d+\.skip\.1\.conv\.weight_orig)'
    found = {match[1] for name in names if (match := re.fullmatch(doubling, name))}
    return 4 * 2 ** len(found) if found else None
