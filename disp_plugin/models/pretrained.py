"""Start from a checkpoint of the GAN that a DISP GAN extends, and report what of it was used."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from disp_plugin.distributed import unwrap_model

from .checkpoint_file import GANCheckpoint, read_checkpoint
from .generators import GeneratorWrapper
from .match_checkpoint import ANEW, check_networks, check_norms, flip_colors

NETWORKS = ('generator.', 'generator_ema.module.', 'discriminator.')

# How each of mmagic's networks is told to turn the channels of its images.
TURNS = ('bgr2rgb', 'rgb2bgr', 'rgb_to_bgr', 'input_bgr2rgb')


@runtime_checkable
class AdaptsPretrained(Protocol):
    """A generator that makes another one's weights its own."""

    def adapt_pretrained(self, state: dict[str, Tensor]) -> list[str]:
        """Change weights under mmagic's names to fit; return their names."""

    def estimate_w_avg(self) -> None:
        """Compute the mean style that the checkpoint lacks."""


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
        table = Table(title=f'start from {self.checkpoint}')
        for column in ('part', *groups):
            table.add_column(column)
        for part in sorted({_part(key) for keys in groups.values() for key in keys}):
            counts = (sum(_part(key) == part for key in keys) for keys in groups.values())
            table.add_row(part, *map(str, counts))
        console = Console(width=100)
        with console.capture() as capture:
            console.print(table)
            console.print(f'layout: {self.layout}', highlight=False)
            if self.colors:
                console.print(f'colors: {self.colors}', highlight=False)
            for name, keys in groups.items():
                if keys and name != 'loaded':
                    console.print(f'{name}: {", ".join(self._shorten(keys))}', highlight=False)
        return capture.get()

    def _shorten(self, keys: list[str]) -> list[str]:
        """Name a part of which nothing was loaded as a whole."""
        used = {_part(key) for key in self.loaded}
        return list(dict.fromkeys(key if _part(key) in used else f'{_part(key)}.*' for key in keys))


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
    target = gan.state_dict()
    networks = _find_networks(gan)
    source = _rename(read.state, use_ema, tuple(networks))
    report = LoadReport(read.file, layout=read.meta.get('layout', 'mmagic'))
    order = _find_order(read, channel_order)
    fault = _check_activations(networks, source, read)
    if fault is None:
        report.colors = _match_colors(gan, source, order, networks)
        fault = check_norms(source, target)
    if fault is None:
        _adapt(networks, source, report)
        _sort_entries(source, target, report)
        fault = check_networks(networks, source, target, report.loaded)
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
        if found is not None:
            networks[prefix] = found
    return networks


def _rename(
    state: dict[str, Tensor], use_ema: bool, prefixes: tuple[str, ...]
) -> dict[str, Tensor]:
    """Give the entries of mmagic's GAN the names that they have in a DISP GAN."""
    is_mined = 'generator.generator.' in prefixes
    names: dict[str, Tensor] = {}
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
    has_ema = any(prefix.startswith('generator_ema.') for prefix in prefixes)
    for key in [key for key in names if has_ema and key.startswith('generator.')]:
        names.setdefault('generator_ema.module.' + key.removeprefix('generator.'), names[key])
    names.pop('generator_ema.steps', None)
    return names


def _find_order(read: GANCheckpoint, channel_order: str | None) -> str:
    if channel_order not in (None, 'RGB', 'BGR'):
        raise ValueError(f"channel_order must be 'RGB', 'BGR' or None, got {channel_order!r}")
    # what mmagic has converted from others makes RGB, what it has trained BGR
    is_rgb = re.search(r'official|[-_]rgb[-_.]', Path(read.file).name)
    return channel_order or read.meta.get('channel_order') or ('RGB' if is_rgb else 'BGR')


def _check_activations(
    networks: dict[str, nn.Module], source: dict[str, Tensor], read: GANCheckpoint
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
    elif '_wReLUinplace' in name:
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


def _match_colors(
    gan: nn.Module, source: dict[str, Tensor], order: str, networks: dict[str, nn.Module]
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
            flip_colors(entries)
            source.update(entries)
            flipped.append(f'{prefix.split(".")[0]} to {"RGB" if is_rgb else "BGR"}')
    return f'{order} in the checkpoint; flipped: {", ".join(flipped) or "none"}'


def _adapt(networks: dict[str, nn.Module], source: dict[str, Tensor], report: LoadReport) -> None:
    for prefix, network in networks.items():
        if isinstance(network, AdaptsPretrained):
            keys = [key for key in source if key.startswith(prefix)]
            entries = {key.removeprefix(prefix): source[key] for key in keys}
            report.adapted += [prefix + key for key in network.adapt_pretrained(entries)]
            source.update({prefix + key: value for key, value in entries.items()})


def _sort_entries(source: dict[str, Tensor], target: dict[str, Tensor], report: LoadReport) -> None:
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


def _copy(
    gan: nn.Module, source: dict[str, Tensor], target: dict[str, Tensor], report: LoadReport
) -> None:
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


def _estimate_w_avg(networks: dict[str, nn.Module], report: LoadReport) -> None:
    for prefix, network in networks.items():
        key = f'{prefix}w_avg'
        is_loaded = any(name.startswith(prefix) for name in report.loaded)
        if is_loaded and key in report.new and isinstance(network, AdaptsPretrained):
            network.estimate_w_avg()
            report.new.remove(key)
            report.estimated.append(key)
