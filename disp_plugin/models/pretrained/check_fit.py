"""Refuse a checkpoint whose networks are others than the model's."""

from collections.abc import Iterable

import torch
from torch import Tensor

from .load_report import LoadReport
from .stylegan2_layouts import count_pixels

# Matrices from the condition to a norm's channels: as wide as the condition, which may be another,
# as in a self-modulated BigGAN. StyleGAN2 has none.
CONDITION_ENTRIES = ('.gain.', '.bias.')
# What a prior or a miner brings, what can be computed, and what each run measures anew.
ANEW = ('.ada_aug.', '.augmentation.', '.mined_updates')
OWN_ENTRIES = ('.prior_projection.', '.miner.', '.w_avg', *ANEW)


def check_fit(
    networks: Iterable[str],
    source: dict[str, Tensor],
    target: dict[str, Tensor],
    report: LoadReport,
) -> None:
    """Refuse a checkpoint of which nothing, or a network not as a whole, has a place.

    Args:
        networks (Iterable[str]): Prefixes of the model's networks.
        source (dict[str, Tensor]): Entries of the checkpoint, under the model's names.
        target (dict[str, Tensor]): Entries of the model.
        report (LoadReport): What becomes of each.

    Raises:
        ValueError: The checkpoint is of another architecture, resolution or width.
    """
    networks = tuple(networks)
    is_stylegan2 = any(key.endswith('generator.constant_input.input') for key in target)
    for network in networks:
        _check_network(network, source, target, report, is_stylegan2)
    if not any(key.startswith(networks) for key in report.loaded):
        raise ValueError(
            f'{report.checkpoint} does not fit this model: none of its {len(source)} entries has a '
            f'place, first {list(source)[:3]}; is it a checkpoint of the same architecture?'
        )


def _check_network(
    network: str,
    source: dict[str, Tensor],
    target: dict[str, Tensor],
    report: LoadReport,
    is_stylegan2: bool,
) -> None:
    """Refuse a network of the checkpoint that is another than the model's."""
    theirs = {key for key in source if key.startswith(network)}
    ours = {key for key in target if key.startswith(network)}
    if not theirs or not ours:
        return
    problems = [
        f'{key} is {tuple(source[key].shape)} in the checkpoint and {tuple(target[key].shape)} '
        'in the model'
        for key in report.mismatched
        if key in ours and not any(part in key for part in CONDITION_ENTRIES)
    ]
    if not problems and ours.isdisjoint(report.loaded):
        problems = [f'none of the {len(theirs)} entries of {network}* has a place in the model']
    if is_stylegan2:
        problems += _find_strangers(theirs, ours)
        problems += [
            f'{key} is another: the model blurs otherwise than the checkpoint'
            for key in report.loaded
            if key in ours and key.endswith('.kernel')
            if not torch.allclose(source[key].to(target[key]), target[key])
        ]
    if not problems:
        return
    hint = 'is it of the same architecture, resolution and width?'
    sizes = count_pixels(theirs), count_pixels(ours)
    if is_stylegan2 and None not in sizes:
        hint = f'both are of {sizes[0]} px; channel_multiplier, channel_base, channel_max, '
        hint += 'style_channels and num_mlps set the shapes, and prior_dim where it has priors'
        if sizes[0] != sizes[1]:
            hint = f'the checkpoint is of {sizes[0]} px, the model of {sizes[1]} px; image_size of '
            hint += "the config sets the model's resolution"
    raise ValueError(
        f'{report.checkpoint} does not fit this model: {"; ".join(problems[:3])} '
        f'({len(problems)} such differences); {hint}'
    )


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
