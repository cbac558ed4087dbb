"""Start from a checkpoint of mmagic's GAN or of official StyleGAN2, and say what of it was used."""

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from .load_report import LoadReport
from .stylegan2_layouts import MMAGIC, count_pixels, flip_colours, rename_checkpoint

__all__ = ['LoadReport', 'load_pretrained']

NETWORKS = ('generator.', 'generator_ema.module.', 'discriminator.')
# Of a StyleGAN2: what a prior brings, what can be computed, and what each run measures anew.
# Matrices from the condition to a norm's channels: as wide as the condition, which may be another,
# as in a self-modulated BigGAN. StyleGAN2 has none.
CONDITION_ENTRIES = ('.gain.', '.bias.')

OWN_ENTRIES = ('.prior_projection.', '.w_avg', '.ada_aug.')

PICKLE_TEXT = """{file} holds pickled objects, which can run any code, and is not read. If it is a \
network pickle of NVlabs, save its weights as tensors: run this with Python in a checkout of \
github.com/NVlabs/stylegan2-ada-pytorch, and set pretrained.checkpoint to the file that it writes

import legacy, torch
with open({file!r}, 'rb') as file:
    networks = legacy.load_network_pkl(file)
torch.save({{name: networks[name].state_dict() for name in ('G', 'D', 'G_ema')}}, {target!r})
"""


@torch.no_grad()
def load_pretrained(
    gan: nn.Module, checkpoint: str, use_ema: bool = True, channel_order: str | None = None
) -> LoadReport:
    """Load into a DISP GAN what it has in common with a checkpoint of the GAN that it extends.

    Networks keep mmagic's parameter names, so all but the class embeddings has a place. State dicts
    of official StyleGAN2 networks (NVlabs) and of rosinality's are known by their names. Where the
    checkpoint has no moving average of the generator, ours begins as its generator; where it has
    nothing but the moving average, the generator begins as that. A network of which the file has
    nothing keeps its initial weights.

    A norm whose condition has another width keeps its initial weights; any other difference of
    shapes is refused. A StyleGAN2 must fit as a whole: besides the projections of priors and the
    state of adaptive augmentation, which begins anew, no entry may be left over on either side. Its
    generator may have two methods: ``adapt_pretrained(state)`` changes weights under mmagic's names
    to fit and returns which, ``estimate_w_avg()`` computes the mean style that the checkpoint
    lacks.

    Args:
        gan (nn.Module): A DISP GAN; changed in place.
        checkpoint (str): A local file or whatever mmengine's loader takes (``https://...``).
        use_ema (bool): Whether the generator, too, starts from the checkpoint's moving average
            if there is one. Defaults to True: it is the better generator.
        channel_order (str, optional): 'RGB' or 'BGR', the colours that a checkpoint's StyleGAN2
            makes and takes. Where the model's are others, the weights next to the image are
            flipped. Defaults to None: RGB in the layouts of NVlabs and rosinality and in mmagic's
            files with 'official' in their name, BGR in its others.

    Returns:
        LoadReport: What was loaded and what was not; also printed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is a pickle or damaged, or its networks are of another architecture,
            resolution or width; or ``channel_order`` is none or is given for another GAN.
    """
    layout, state = rename_checkpoint(_read(checkpoint))
    source = _rename(state, use_ema)
    target = gan.state_dict()
    report = LoadReport(checkpoint=str(checkpoint), layout=layout)
    is_stylegan2 = 'generator.constant_input.input' in target
    order = _find_order(report, channel_order, is_stylegan2)
    if is_stylegan2:
        report.colours = _match_colours(gan, source, order)
        _adapt(gan, source, report)
    _sort_entries(source, target, report, is_stylegan2)
    for network in NETWORKS:
        _check_fit(network, source, target, report, is_stylegan2)
    if not any(key.startswith(NETWORKS) for key in report.loaded):
        raise ValueError(
            f'{checkpoint} does not fit this model: none of its {len(source)} entries has a place, '
            f'first {list(source)[:3]}; is it a checkpoint of the same architecture?'
        )
    # In place: in a distributed run the networks are wrapped already, and go by other names.
    for key in report.loaded:
        target[key].copy_(source[key])
    if any(key.startswith('generator_ema.module.') for key in report.loaded):
        # At step 0 mmagic's average becomes a copy of the generator.
        target['generator_ema.steps'].clamp_(min=1)
    _estimate_w_avg(gan, report)
    if is_main_process():
        print_log(f'\n{report}', logger='current')
    return report


def _sort_entries(
    source: dict[str, Tensor], target: dict[str, Tensor], report: LoadReport, is_stylegan2: bool
) -> None:
    """Say of every entry what becomes of it."""
    for key, value in target.items():
        if key not in source or (is_stylegan2 and '.ada_aug.' in key):
            report.new.append(key)
        elif source[key].shape != value.shape:
            report.mismatched.append(key)
        else:
            report.loaded.append(key)
    taken = {*report.loaded, *report.mismatched}
    report.ignored = [key for key in source if key not in taken]


def _read(checkpoint: str) -> Mapping[str, Any]:
    is_local = '://' not in checkpoint
    if is_local and not Path(checkpoint).is_file():
        raise FileNotFoundError(
            f'pretrained.checkpoint is {checkpoint!r}, and there is no such file'
        )
    path = Path(checkpoint)
    help_text = PICKLE_TEXT.format(file=path.name, target=f'{path.stem}-tensors.pth')
    if checkpoint.endswith('.pkl'):
        raise ValueError(help_text)
    try:
        # rosinality's training saves its options, which are plain values in a Namespace
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    except pickle.UnpicklingError as error:
        raise ValueError(help_text) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f'{checkpoint} is no checkpoint, or is damaged: {error}') from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{checkpoint} holds a {type(content).__name__}, but a checkpoint is a dict of tensors'
        )
    return content


def _rename(state: dict, use_ema: bool) -> dict[str, Tensor]:
    """Give the entries of mmagic's GAN the names that they have in a DISP GAN."""
    names: dict[str, Tensor] = {}
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            continue
        part, _, rest = key.partition('.')
        if part == 'discriminator' and not rest.startswith(('discriminator.', 'prior_projection.')):
            rest = f'discriminator.{rest}'
        if part == 'generator_ema' and rest != 'steps' and not rest.startswith('module.'):
            rest = f'module.{rest}'
        names[f'{part}.{rest}'] = value
    for key in [key for key in names if key.startswith('generator_ema.module.')]:
        plain = 'generator.' + key.removeprefix('generator_ema.module.')
        if use_ema or plain not in names:
            names[plain] = names[key]
    for key in [key for key in names if key.startswith('generator.')]:
        names.setdefault('generator_ema.module.' + key.removeprefix('generator.'), names[key])
    names.pop('generator_ema.steps', None)
    return names


def _find_network(gan: nn.Module, network: str) -> Any:
    """Look up a network by its prefix, without the wrapper of a distributed run."""
    found: Any = gan
    for name in network.removesuffix('.').split('.'):
        found = getattr(found, name, None)
        if is_model_wrapper(found):
            found = found.module
    return found


def _find_order(report: LoadReport, channel_order: str | None, is_stylegan2: bool) -> str:
    if channel_order not in (None, 'RGB', 'BGR'):
        raise ValueError(f"channel_order must be 'RGB', 'BGR' or None, got {channel_order!r}")
    if channel_order is not None and not is_stylegan2:
        raise ValueError(
            f'pretrained.channel_order is {channel_order!r}, but it is for StyleGAN2 only; '
            'leave it out'
        )
    is_official = report.layout != MMAGIC or 'official' in Path(report.checkpoint).name
    return channel_order or ('RGB' if is_official else 'BGR')


def _match_colours(gan: nn.Module, source: dict[str, Tensor], order: str) -> str:
    """Flip the colours of each network that has others than the checkpoint; say which."""
    flipped = []
    preprocessor = getattr(gan, 'data_preprocessor', None)
    data_order = getattr(preprocessor, 'output_channel_order', None) or 'BGR'
    for network in NETWORKS:
        built = _find_network(gan, network)
        # What a network faces is in the order of the data, which the network itself may turn.
        if network == 'discriminator.':
            is_turned = getattr(getattr(built, 'discriminator', None), 'input_bgr2rgb', False)
        else:
            is_turned = getattr(built, 'bgr2rgb', False)
        is_rgb = is_turned != (data_order == 'RGB')
        entries = {key: value for key, value in source.items() if key.startswith(network)}
        if entries and is_rgb != (order == 'RGB'):
            flip_colours(entries)
            source.update(entries)
            flipped.append(f'{network.split(".")[0]} to {"RGB" if is_rgb else "BGR"}')
    return f'{order} in the checkpoint; flipped: {", ".join(flipped) or "none"}'


def _adapt(gan: nn.Module, source: dict[str, Tensor], report: LoadReport) -> None:
    for network in ('generator.', 'generator_ema.module.'):
        adapt = getattr(_find_network(gan, network), 'adapt_pretrained', None)
        if adapt is not None:
            keys = [key for key in source if key.startswith(network)]
            entries = {key.removeprefix(network): source[key] for key in keys}
            report.adapted += [network + key for key in adapt(entries)]
            source.update({network + key: value for key, value in entries.items()})


def _check_fit(
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


def _estimate_w_avg(gan: nn.Module, report: LoadReport) -> None:
    for network in ('generator.', 'generator_ema.module.'):
        key = f'{network}w_avg'
        built = _find_network(gan, network)
        is_loaded = any(name.startswith(network) for name in report.loaded)
        if is_loaded and key in report.new and hasattr(built, 'estimate_w_avg'):
            built.estimate_w_avg()
            report.new.remove(key)
            report.estimated.append(key)
