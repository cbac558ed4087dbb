"""Start from a checkpoint of the GAN that a DISP GAN extends, and report what of it was used.

A checkpoint's entries get the names that they have in the DISP GAN; the colors and the spectral
norms of its networks are turned into the model's; what then does not fit is refused.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import normalize

from disp_plugin.distributed import unwrap_model
from disp_plugin.weights import NonFiniteError, find_non_finite, list_some

from .checkpoint_file import (
    CONVERTERS,
    GANCheckpoint,
    read_checkpoint,
)
from .discriminators import DiscriminatorWrapper
from .generators import GeneratorWrapper
from .stylegan2_networks import FIRST_MAPPING_WEIGHT, DISPStyleGAN2Generator

State = dict[str, Tensor]
NETWORKS = ('generator.', 'generator_ema.module.', 'discriminator.')

# How each of mmagic's networks is told to turn the channels of its images.
TURNS = ('bgr2rgb', 'rgb2bgr', 'rgb_to_bgr', 'input_bgr2rgb')

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


@dataclass
class LoadReport:
    """What became of the entries of a checkpoint and of the model."""

    checkpoint: str
    loaded: list[str] = field(default_factory=list)
    # keep their initial value: the checkpoint lacks them, as the projections of the prior
    new: list[str] = field(default_factory=list)
    # the model has no place for them, as the checkpoint's class embeddings
    ignored: list[str] = field(default_factory=list)
    # norms whose condition has another width; they keep their initial value
    mismatched: list[str] = field(default_factory=list)
    # loaded, but changed to fit: the mapping's first matrix, where a prior joins the noise
    adapted: list[str] = field(default_factory=list)
    # computed from the checkpoint's weights: the mean style
    estimated: list[str] = field(default_factory=list)
    layout: str = 'mmagic'
    colors: str = ''

    def __str__(self) -> str:
        groups = {
            'loaded': self.loaded,
            'adapted': self.adapted,
            'estimated': self.estimated,
            'new': self.new,
            'ignored': self.ignored,
            'other shape': self.mismatched,
        }
        counts = {name: Counter(map(_part, keys)) for name, keys in groups.items()}
        table = Table('part', *groups, title=f'start from {self.checkpoint}')
        for part in sorted(set().union(*counts.values())):
            table.add_row(part, *(str(count[part]) for count in counts.values()))
        lines = {'layout': self.layout, 'colors': self.colors}
        for name, keys in groups.items():
            # a part of which nothing was loaded is named as a whole
            names = (k if _part(k) in counts['loaded'] else f'{_part(k)}.*' for k in keys)
            lines[name] = ', '.join(dict.fromkeys(names)) if name != 'loaded' else ''
        console = Console(width=100)
        with console.capture() as capture:
            console.print(table)
            for name, line in lines.items():
                if line:
                    console.print(f'{name}: {line}', highlight=False)
        return capture.get()


def _part(key: str) -> str:
    return key.split('.')[0]


@torch.no_grad()
def load_pretrained(
    gan: nn.Module, checkpoint: str, use_ema: bool = True, channel_order: str | None = None
) -> LoadReport:
    """Load into a DISP GAN what it has in common with a checkpoint of the GAN that it extends.

    Networks keep mmagic's parameter names, so all but the class embeddings has a place. Where the
    checkpoint has no EMA generator, ours begins as its generator; where it has nothing else, the
    generator begins as the EMA generator. A network of which the file has nothing keeps its initial
    weights. In a ``MinedGenerator`` they go to the generator behind the miner.

    A norm whose condition has another width keeps its initial weights; any other difference of
    shapes is refused, and so is spectral norm on one side only. A StyleGAN2 must fit as a whole:
    besides the projections of priors and the state of adaptive augmentation, which begins anew, no
    entry may be left over on either side.

    Args:
        gan (nn.Module): A DISP GAN; changed in place.
        checkpoint (str): A file, an address or a name of mmagic's zoo; see :func:`read_checkpoint`.
        use_ema (bool): Whether the generator, too, starts from the checkpoint's EMA generator
            if there is one. Defaults to True: it is the better generator.
        channel_order (str, optional): 'RGB' or 'BGR', the colors that the checkpoint's networks
            make and take. Where the model's are others, the weights next to the image are
            flipped. Defaults to None: what the converter noted; else RGB for mmagic's files with
            'official' or 'rgb' in their name, and BGR for all others.

    Returns:
        LoadReport: What was loaded and what was not; also printed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read safely; no weights match, or a network matches only in
            part; or ``channel_order`` is another word.
    """
    read = read_checkpoint(checkpoint)
    if (bad := find_non_finite(read.state)) is not None:
        raise NonFiniteError(f'{read.file} cannot be used: {bad}; start from another checkpoint')
    target: State = gan.state_dict()
    networks = _find_networks(gan)
    source = _rename(read.state, use_ema, networks)
    report = LoadReport(read.file, layout=read.meta.get('layout', 'mmagic'))
    order = _find_order(read, channel_order)
    fault = _check_activations(networks, source, read)
    if fault is None:
        report.colors = _match_colors(gan, source, order, networks)
        fault = match_norms(source, target)
    if fault is None:
        _widen(networks, source, report)
        _sort_entries(source, target, report)
        fault = _check_networks(networks, source, target, report)
    if fault is not None:
        raise ValueError(f'{read.file} does not fit this model: {fault}')
    _copy(gan, source, target, report)
    _estimate_w_avg(networks, report)
    if is_main_process():
        print_log(f'\n{report}', logger='current')
    return report


def _find_networks(gan: nn.Module) -> dict[str, nn.Module]:
    """Look up the networks by the prefix of their entries, without wrappers of a distributed run.

    The generator behind a miner goes by ``generator.generator.``.
    """
    networks = {}
    for prefix in NETWORKS:
        found: nn.Module | None = gan
        for name in prefix.removesuffix('.').split('.'):
            found = getattr(found, name, None)
            if found is not None and is_model_wrapper(found):
                found = found.module
        if isinstance(found, GeneratorWrapper):
            prefix, found = f'{prefix}generator.', found.generator
        is_new = isinstance(found, DiscriminatorWrapper) and not found.takes_checkpoints
        if found is not None and not is_new:
            networks[prefix] = found
    return networks


def _rename(state: State, use_ema: bool, networks: Mapping[str, nn.Module]) -> State:
    """Give the entries of mmagic's GAN the names that they have in a DISP GAN."""
    is_mined = 'generator.generator.' in networks
    names: State = {}
    for key, value in state.items():
        part, _, rest = key.partition('.')
        if part == 'discriminator' and not rest.startswith(('discriminator.', 'prior_projection.')):
            rest = f'discriminator.{rest}'
        if part == 'generator_ema':
            rest = rest.removeprefix('module.')
        is_own = rest.startswith(('generator.', 'miner.', 'mined_updates')) or rest == 'steps'
        if is_mined and part.startswith('generator') and not is_own:
            rest = f'generator.{rest}'
        if part == 'generator_ema' and rest != 'steps':
            rest = f'module.{rest}'
        names[f'{part}.{rest}'] = value
    for key in [key for key in names if key.startswith('generator_ema.module.')]:
        plain = 'generator.' + key.removeprefix('generator_ema.module.')
        if use_ema or plain not in names:
            names[plain] = names[key]
    has_ema = any(prefix.startswith('generator_ema.') for prefix in networks)
    for key in [key for key in names if has_ema and key.startswith('generator.')]:
        names.setdefault('generator_ema.module.' + key.removeprefix('generator.'), names[key])
    names.pop('generator_ema.steps', None)
    return names


def _check_activations(
    networks: Mapping[str, nn.Module], source: State, read: GANCheckpoint
) -> str | None:
    """Say if activations of the discriminator work in place here only, or there only.

    In mmagic they change what the shortcut of a discriminator's block adds (biggan_modules.py,
    BigGANDiscResBlock.forward). Its zoo says in some names which of the two a file is.
    """
    discriminator = networks.get('discriminator.')
    if discriminator is None or not any(key.startswith('discriminator.') for key in source):
        return None
    name, noted = Path(read.file).name, read.meta.get('activations_in_place')
    if noted is not None:
        expected = noted == 'True'
    elif re.search('cvt_BigGAN-PyTorch|woReLUinplace', name):
        expected = False
    elif re.search('_wReLUinplace|^biggan_imagenet1k_128x128_b32x8', name):
        expected = True
    else:
        return None
    activations = [part for part in discriminator.modules() if isinstance(part, nn.ReLU)]
    if all(part.inplace is expected for part in activations):
        return None
    here, there = ('not ', '') if expected else ('', 'not ')
    return (
        f'activations of its discriminator do {here}work in place, where the shortcuts of its '
        f'blocks lose what is negative, and those of the checkpoint do {there}; set '
        f'act_cfg=dict(inplace={expected}) in the config of the wrapped discriminator'
    )


# Colors


def _find_order(read: GANCheckpoint, channel_order: str | None) -> str:
    if channel_order not in (None, 'RGB', 'BGR'):
        raise ValueError(f"channel_order must be 'RGB', 'BGR' or None, got {channel_order!r}")
    # what mmagic has converted from others makes RGB, what it has trained BGR
    is_rgb = re.search(r'official|[-_]rgb[-_.]', Path(read.file).name)
    return channel_order or read.meta.get('channel_order') or ('RGB' if is_rgb else 'BGR')


def _match_colors(
    gan: nn.Module, source: State, order: str, networks: Mapping[str, nn.Module]
) -> str:
    """Flip the colors of each network that has others than the checkpoint; say what was done."""
    flipped = []
    preprocessor = getattr(gan, 'data_preprocessor', None)
    data_order = getattr(preprocessor, 'output_channel_order', None) or 'BGR'
    for prefix, network in networks.items():
        # What a network faces is in the order of the data, which the network itself may turn.
        inner = getattr(network, 'discriminator', network)
        is_turned = any(getattr(inner, turn, False) for turn in TURNS)
        is_rgb = is_turned != (data_order == 'RGB')
        entries = {key: value for key, value in source.items() if key.startswith(prefix)}
        if entries and is_rgb != (order == 'RGB'):
            _flip_colors(entries)
            source.update(entries)
            flipped.append(f'{_part(prefix)} to {"RGB" if is_rgb else "BGR"}')
    return f'{order} in the checkpoint; flipped: {", ".join(flipped) or "none"}'


def _flip_colors(state: State) -> None:
    """Turn a network for RGB images into one for BGR images, or back, in place.

    Entries have mmagic's names behind any prefix. A spectral norm's vectors turn with its weight.
    """
    flipped = {}
    for name, value in state.items():
        if re.fullmatch(STYLED_TO_RGB, name):
            flipped[name] = value.flip(1)
        elif match := re.fullmatch(TO_RGB, name):
            if match['leaf'] in ('weight', 'weight_orig', 'bias', 'weight_u', 'u0'):
                flipped[name] = value.flip(1 if match['leaf'] == 'u0' else 0)
        elif re.fullmatch(FROM_RGB, name):
            if state[re.sub('weight_v$', 'weight_orig', name)].shape[1] != 3:
                continue
            is_vector = value.ndim == 1
            flipped[name] = value.view(3, -1).flip(0).flatten() if is_vector else value.flip(1)
    state.update(flipped)


# Spectral norms


def match_norms(source: State, target: Mapping[str, Tensor]) -> str | None:
    """Turn one kind of spectral norm into the other where the model has another than the source.

    Both divide a weight by an estimate of its largest singular value. torch keeps the two vectors
    of the estimate; BigGAN-PyTorch and Chainer keep one, and take a step of the power method at
    each use. That step is taken here, so the estimate in evaluation is the same.

    ``source``, the checkpoint's entries, is changed in place. Returns what differs where only one
    side has a norm, if that is not a matrix from the condition, which may be another.
    """
    one_sided = []
    for layer in dict.fromkeys(key.rpartition('.')[0] for key in target if '.weight' in key):
        ours, theirs = _find_norm(target, layer), _find_norm(source, layer)
        if ours is None or theirs is None or ours == theirs:
            continue
        if 'plain' in (ours, theirs):
            if not any(part in f'{layer}.' for part in CONDITION_ENTRIES):
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
    if not one_sided:
        return None
    side = 'checkpoint' if _find_norm(target, one_sided[0]) == 'plain' else 'model'
    return (
        f'{one_sided[0]} is divided by its spectral norm in the {side} only ({len(one_sided)} such '
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


# What fits, and what does not


def _widen(networks: Mapping[str, nn.Module], source: State, report: LoadReport) -> None:
    """Make place for a prior in the first matrix of a StyleGAN2's mapping."""
    for prefix, network in networks.items():
        if isinstance(network, DISPStyleGAN2Generator):
            name = prefix + FIRST_MAPPING_WEIGHT
            widened = network.widen_mapping(source[name]) if name in source else None
            if widened is not None:
                source[name] = widened
                report.adapted.append(name)


def _sort_entries(source: State, target: State, report: LoadReport) -> None:
    """Say of every entry what becomes of it."""
    for key, value in target.items():
        if key not in source or any(part in key for part in ANEW):
            report.new.append(key)
        elif source[key].shape != value.shape:
            report.mismatched.append(key)
        else:
            report.loaded.append(key)
    taken = {*report.loaded, *report.mismatched}
    report.ignored = [key for key in source if key not in taken]


def _check_networks(
    networks: Mapping[str, nn.Module], source: State, target: State, report: LoadReport
) -> str | None:
    """Say what differs if no weights match, or if a network matches only in part."""
    for prefix in networks:
        theirs = {key for key in source if key.startswith(prefix)}
        ours = {key for key in target if key.startswith(prefix)}
        if theirs and ours and (fault := _compare(prefix, theirs, ours, source, target, report)):
            return fault
    if not any(key.startswith(tuple(networks)) for key in report.loaded):
        return (
            f'no weights match: it has {list_some(source)}, and the model wants '
            f'{list_some(key for key in target if key.startswith(tuple(networks)))}; {CONVERTERS}'
        )
    return None


def _compare(
    prefix: str, theirs: set[str], ours: set[str], source: State, target: State, report: LoadReport
) -> str | None:
    """Say what keeps the entries of a network from those of the model's; None if they fit."""
    is_stylegan2 = any(key.endswith('generator.constant_input.input') for key in target)
    problems = [
        f'{key} is {tuple(source[key].shape)} in the checkpoint and {tuple(target[key].shape)} '
        'in the model'
        for key in report.mismatched
        if key in ours and not any(part in key for part in CONDITION_ENTRIES)
    ]
    if not problems and ours.isdisjoint(report.loaded):
        problems = [f'none of the {len(theirs)} entries of {prefix}* has a place in the model']
    if is_stylegan2:
        one_sided = [
            *(f'{key}: the model lacks it' for key in sorted(theirs - ours)),
            *(f'{key}: the checkpoint lacks it' for key in sorted(ours - theirs)),
        ]
        problems += [key for key in one_sided if not any(own in f'.{key}' for own in OWN_ENTRIES)]
        problems += [
            f'{key} is another: the model blurs otherwise than the checkpoint'
            for key in sorted(ours.intersection(report.loaded))
            if key.endswith('.kernel')
            if not torch.allclose(source[key].to(target[key]), target[key])
        ]
    if not problems:
        return None
    hint = 'is it of the same architecture, resolution and width?'
    sizes = _count_pixels(theirs), _count_pixels(ours)
    if is_stylegan2 and None not in sizes:
        hint = (
            f'both are of {sizes[0]} px; channel_multiplier, channel_base, channel_max, '
            'style_channels and num_mlps set the shapes, and prior_dim where it has priors'
            if sizes[0] == sizes[1]
            else f'the checkpoint is of {sizes[0]} px, the model of {sizes[1]} px; '
            "model.image_size sets the model's resolution"
        )
    return f'{"; ".join(problems[:3])} ({len(problems)} such differences); {hint}'


def _count_pixels(names: set[str]) -> int | None:
    """Tell the size of the images of a StyleGAN2 network by its names, behind any prefix."""
    doubling = r'(?:.+\.)?(to_rgbs\.\d+\.bias|convs\.\d+\.skip\.1\.conv\.weight_orig)'
    found = {match[1] for name in names if (match := re.fullmatch(doubling, name))}
    return 4 * 2 ** len(found) if found else None


# Loading


def _copy(gan: nn.Module, source: State, target: State, report: LoadReport) -> None:
    """Write what fits into the model; tell a wrapped generator which of its entries are loaded."""
    # In place: in a distributed run the networks are wrapped already, and go by other names.
    for key in report.loaded:
        target[key].copy_(source[key])
    if any(key.startswith('generator_ema.module.') for key in report.loaded):
        # At step 0 mmagic's average becomes a copy of the generator.
        target['generator_ema.steps'].clamp_(min=1)
    wrapper = unwrap_model(gan.get_submodule('generator'))
    if isinstance(wrapper, GeneratorWrapper):
        prefix = 'generator.generator.'
        loaded = (key for key in report.loaded if key.startswith(prefix))
        wrapper.loaded_names = {key.removeprefix(prefix) for key in loaded}


def _estimate_w_avg(networks: Mapping[str, nn.Module], report: LoadReport) -> None:
    """Compute the mean style that a checkpoint of a StyleGAN2 lacks."""
    for prefix, network in networks.items():
        key = f'{prefix}w_avg'
        is_loaded = any(name.startswith(prefix) for name in report.loaded)
        if is_loaded and key in report.new and isinstance(network, DISPStyleGAN2Generator):
            network.estimate_w_avg()
            report.new.remove(key)
            report.estimated.append(key)
