"""Start from a checkpoint of the GAN that a DISP GAN extends, and say what of it was used."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from disp_plugin.models.generators import GeneratorWrapper

from .check_fit import ANEW, CONDITION_ENTRIES, check_fit
from .checkpoint_layouts import BIGGAN, MMAGIC, SNGAN, rename_checkpoint
from .load_report import LoadReport
from .match_colors import match_colors
from .match_spectral_norm import match_spectral_norm
from .read_checkpoint import read_checkpoint

__all__ = ['LoadReport', 'load_pretrained']

NETWORKS = ('generator.', 'generator_ema.module.', 'discriminator.')


@torch.no_grad()
def load_pretrained(
    gan: nn.Module,
    checkpoint: str | Mapping[str, str],
    use_ema: bool = True,
    channel_order: str | None = None,
) -> LoadReport:
    """Load into a DISP GAN what it has in common with a checkpoint of the GAN that it extends.

    Networks keep mmagic's parameter names, so all but the class embeddings has a place. State dicts
    of official StyleGAN2 networks (NVlabs), of rosinality's, of BigGAN-PyTorch and arrays of pfnet
    SNGAN are known by their names. Where the checkpoint has no moving average of the generator,
    ours begins as its generator; where it has nothing but the moving average, the generator begins
    as that. A network of which the file has nothing keeps its initial weights. In a
    ``MinedGenerator`` they go to the generator behind the miner.

    A norm whose condition has another width keeps its initial weights; any other difference of
    shapes is refused, and so is spectral norm on one side only. A StyleGAN2 must fit as a whole:
    besides the projections of priors and the state of adaptive augmentation, which begins anew, no
    entry may be left over on either side. Its generator may have two methods:
    ``adapt_pretrained(state)`` changes weights under mmagic's names to fit and returns which,
    ``estimate_w_avg()`` computes the mean style that the checkpoint lacks.

    The networks of pfnet SNGAN and of BigGAN-PyTorch need other options than mmagic's, which
    sngan_layout.py and biggan_layout.py name.

    Args:
        gan (nn.Module): A DISP GAN; changed in place.
        checkpoint (str | Mapping[str, str]): A local file or whatever mmengine's loader takes
            (``https://...``), the name of a model of mmagic's zoo, a folder with the files of
            BigGAN-PyTorch or pfnet SNGAN, or one file a network, as ``dict(generator=...,
            generator_ema=..., discriminator=...)``; see :func:`read_checkpoint`.
        use_ema (bool): Whether the generator, too, starts from the checkpoint's moving average
            if there is one. Defaults to True: it is the better generator.
        channel_order (str, optional): 'RGB' or 'BGR', the colors that the checkpoint's networks
            make and take. Where the model's are others, the weights next to the image are
            flipped. Defaults to None: BGR in mmagic's files, but for those with 'official' or
            'rgb' in their name, RGB in all others.

    Returns:
        LoadReport: What was loaded and what was not; also printed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is a pickle or damaged, or its networks are of another architecture,
            resolution or width; or ``channel_order`` is neither.
    """
    path, content = read_checkpoint(checkpoint)
    layout, state = rename_checkpoint(content)
    target = gan.state_dict()
    networks = _find_networks(gan, target)
    source = _rename(state, use_ema, tuple(networks))
    report = LoadReport(checkpoint=path, layout=layout)
    order = _find_order(report, channel_order)
    _check_activations(networks, source, report)
    report.colors = match_colors(gan, source, order, networks)
    _match_norms(source, target, report)
    _adapt(networks, source, report)
    _sort_entries(source, target, report)
    check_fit(networks, source, target, report)
    _copy(source, target, report)
    wrapper: Any = gan.generator
    wrapper = wrapper.module if is_model_wrapper(wrapper) else wrapper
    if isinstance(wrapper, GeneratorWrapper):
        prefix = 'generator.generator.'
        loaded = (key for key in report.loaded if key.startswith(prefix))
        wrapper.loaded_names = {key.removeprefix(prefix) for key in loaded}
    _estimate_w_avg(networks, report)
    if is_main_process():
        print_log(f'\n{report}', logger='current')
    return report


def _copy(
    source: dict[str, Tensor],
    target: dict[str, Tensor],
    report: LoadReport,
) -> None:
    """Write what fits into the model."""
    # In place: in a distributed run the networks are wrapped already, and go by other names.
    for key in report.loaded:
        target[key].copy_(source[key])
    if any(key.startswith('generator_ema.module.') for key in report.loaded):
        # At step 0 mmagic's average becomes a copy of the generator.
        target['generator_ema.steps'].clamp_(min=1)


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


def _find_networks(gan: nn.Module, target: dict[str, Tensor]) -> dict[str, Any]:
    """Look up the networks by the prefix of their entries, without wrappers of a distributed run.

    The generator behind a miner goes by ``generator.generator.``.
    """
    networks: dict[str, Any] = {}
    for prefix in NETWORKS:
        found: Any = gan
        for name in prefix.removesuffix('.').split('.'):
            found = getattr(found, name, None)
            if is_model_wrapper(found):
                found = found.module
        if isinstance(found, GeneratorWrapper):
            prefix, found = f'{prefix}generator.', found.generator
        if found is not None:
            networks[prefix] = found
    return networks


def _rename(state: dict, use_ema: bool, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Give the entries of mmagic's GAN the names that they have in a DISP GAN."""
    is_mined = 'generator.generator.' in prefixes
    names: dict[str, Tensor] = {}
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            continue
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


def _find_order(report: LoadReport, channel_order: str | None) -> str:
    if channel_order not in (None, 'RGB', 'BGR'):
        raise ValueError(f"channel_order must be 'RGB', 'BGR' or None, got {channel_order!r}")
    # what mmagic has converted from others makes RGB, what it has trained BGR
    is_rgb = report.layout != MMAGIC or re.search(
        r'official|[-_]rgb[-_.]', Path(report.checkpoint).name
    )
    return channel_order or ('RGB' if is_rgb else 'BGR')


def _check_activations(
    networks: dict[str, Any], source: dict[str, Tensor], report: LoadReport
) -> None:
    """Refuse activations in place where the checkpoint was trained without, and the other way.

    In mmagic they change what the shortcut of a discriminator's block adds (biggan_modules.py,
    BigGANDiscResBlock.forward). Its zoo says in some names which of the two a file is.
    """
    discriminator = networks.get('discriminator.')
    if discriminator is None or not any(key.startswith('discriminator.') for key in source):
        return
    name = Path(report.checkpoint).name
    if report.layout in (BIGGAN, SNGAN) or re.search('cvt_BigGAN-PyTorch|woReLUinplace', name):
        expected = False
    elif '_wReLUinplace' in name:
        expected = True
    else:
        return
    activations = [part for part in discriminator.modules() if isinstance(part, nn.ReLU)]
    if any(part.inplace is not expected for part in activations):
        here, there = ('', 'not ') if expected is False else ('not ', '')
        raise ValueError(
            f'{report.checkpoint} does not fit this model: activations of its discriminator do '
            f'{here}work in place, where the shortcuts of its blocks lose what is negative, and '
            f'those of the checkpoint do {there}(layout {report.layout}); set '
            f'act_cfg=dict(inplace={expected}) in the config of the wrapped discriminator'
        )


def _match_norms(source: dict[str, Tensor], target: dict[str, Tensor], report: LoadReport) -> None:
    one_sided = [
        layer
        for layer in match_spectral_norm(source, target)
        if not any(part in f'{layer}.' for part in CONDITION_ENTRIES)
    ]
    if one_sided:
        side = 'model' if _has_norm(target, one_sided[0]) else 'checkpoint'
        raise ValueError(
            f'{report.checkpoint} does not fit this model: {one_sided[0]} is divided by its '
            f'spectral norm in the {side} only ({len(one_sided)} such layers); set '
            f'with_spectral_norm={side == "checkpoint"} in the config of that network'
        )


def _has_norm(state: dict[str, Tensor], layer: str) -> bool:
    return f'{layer}.weight_u' in state or f'{layer}.u0' in state


def _adapt(networks: dict[str, Any], source: dict[str, Tensor], report: LoadReport) -> None:
    for prefix, network in networks.items():
        adapt = getattr(network, 'adapt_pretrained', None)
        if adapt is not None:
            keys = [key for key in source if key.startswith(prefix)]
            entries = {key.removeprefix(prefix): source[key] for key in keys}
            report.adapted += [prefix + key for key in adapt(entries)]
            source.update({prefix + key: value for key, value in entries.items()})


def _estimate_w_avg(networks: dict[str, Any], report: LoadReport) -> None:
    for prefix, network in networks.items():
        key = f'{prefix}w_avg'
        is_loaded = any(name.startswith(prefix) for name in report.loaded)
        if is_loaded and key in report.new and hasattr(network, 'estimate_w_avg'):
            network.estimate_w_avg()
            report.new.remove(key)
            report.estimated.append(key)
