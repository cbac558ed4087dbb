"""Networks by name, from torchvision or timm, and weights out of files of many makers."""

import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from disp_plugin.weights import list_some, read_weights

from .fetch_weights import find_local

LOGITS = 'logits'
POOLED = 'pooled'

#: Where this project's own files say what they are.
META_KEY = 'disp_encoder'

NetworkArgs = dict[str, Any]
"""Arguments that only the library's own constructor knows."""


class Meta(TypedDict, total=False):
    """What a file of this project says of its backbone; nothing in the files of others."""

    arch: str
    arch_kwargs: NetworkArgs
    in_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    prior_dim: int
    training: dict[str, object]  # all options, and what else the weights depend on
    loss: float
    score: float


# Copies of a backbone that training keeps beside the one that is meant.
_COPIES = ('student', 'encoder_k', 'momentum', 'target', '_k.')


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a seed inside, and leave the run's own random numbers as they were."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed the GPUs, too, which are not restored here
        torch.default_generator.manual_seed(seed)
        yield


def find_library(arch: str) -> tuple[str, str]:
    """Find the library that has a network, and the network's name there.

    ``arch`` is 'resnet50', looked for in torchvision and then in timm, or names its library, as
    'timm/resnet50' and 'torchvision/resnet50' do.

    Raises:
        ValueError: No such network; the message names similar ones.
    """
    import timm  # here, since both take a second that few runs need
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


def family_of(arch: str) -> str:
    """Return the family of a network: 'timm/tf_efficientnet_lite0' is an 'efficientnet'."""
    name = arch.split(' ')[0].rpartition('/')[2].lower().removeprefix('tf_')
    return re.split(r'v?\d|[^a-z]', name)[0]


def spell_arguments(arguments: NetworkArgs | None) -> str:
    """Write a network's arguments for its fingerprint, lists and tuples alike."""
    return ' ' + json.dumps(arguments, sort_keys=True, default=str) if arguments else ''


def build_backbone(arch: str, arch_kwargs: NetworkArgs | None = None) -> nn.Module:
    """Build an untrained network without its head: (N, 3, H, W) to (N, D) pooled features.

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
    return drop_last_linear(network, name)


def build_torchvision(name: str, **kwargs: object) -> nn.Module:
    """Build an untrained classifier of torchvision."""
    import torchvision

    if name in ('googlenet', 'inception_v3'):
        kwargs.setdefault('init_weights', True)
    return torchvision.models.get_model(name, weights=None, **kwargs)


def drop_last_linear(network: nn.Module, name: str) -> nn.Module:
    """Replace the classification layer by the identity, in place; return the network.

    Raises:
        ValueError: It does not end with a linear layer.
    """
    linears = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ValueError(
            f'{name} does not end with a linear layer, and its last features cannot be told; '
            f'set layer= to one of: {", ".join(n for n, _ in network.named_children())}'
        )
    parent, _, child = linears[-1].rpartition('.')
    setattr(network.get_submodule(parent), child, nn.Identity())
    return network


def cut_at(network: nn.Module, layer: str, name: str) -> nn.Module:
    """Keep the part of a network that leads to one of its layers, which becomes the output.

    Raises:
        ValueError: No such layer; the message names some.
    """
    extractor = extract_layers(network, {layer: 'features'}, name)
    return _OneOutput(OrderedDict(extractor=extractor))


def extract_layers(network: nn.Module, layers: Mapping[str, str], name: str) -> nn.Module:
    """Keep the part of a network that leads to some of its layers; it gives a dict of outputs.

    A layer is a module or a node of the graph, as torchvision's feature extraction names it.

    Raises:
        ValueError: No such layer; the message names some.
    """
    from torchvision.models.feature_extraction import create_feature_extractor

    try:
        return create_feature_extractor(network.eval(), dict(layers)).eval()
    except ValueError as error:
        names = [n for n, _ in network.named_modules() if n]
        layer = next((one for one in layers if one not in names), '')
        similar = get_close_matches(layer, names, n=8, cutoff=0.4) or names[-8:]
        raise ValueError(
            f'{name} has no layer {layer!r}; some it has: {", ".join(similar)}'
        ) from error


class _OneOutput(nn.Sequential):
    """Unwrap the dict that a feature extractor gives."""

    def forward(self, img: Tensor) -> Tensor:
        return super().forward(img)['features']


def read_checkpoint(file: str | Path) -> tuple[dict[str, Tensor], Meta]:
    """Read a checkpoint without running code in it, as :func:`read_weights` does.

    Returns:
        tuple[dict[str, Tensor], Meta]: All tensors, nested names joined by dots, and what
        ``tools/pretrain_encoder.py`` wrote about the backbone (empty for other files).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint, or holds more than tensors and plain values.
    """
    file = find_local(file, '. tools/pretrain_encoder.py makes one from a folder of images')
    content, notes = read_weights(file)
    return dict(_flatten(content)), json.loads(notes.get(META_KEY, '{}'))


def load_all(network: nn.Module, tensors: dict[str, Tensor], file: str | Path) -> str:
    """Load every weight of a network, whatever prefix the checkpoint's names have.

    The network is changed in place. The prefix is found by where the network's names end:
    ``module.encoder_q.`` (MoCo), ``backbone.`` (SimCLR, lightly, mmengine), ``teacher.backbone.``
    (DINO) and the like. A copy of a student or a momentum encoder is taken only if there is no
    other complete one.

    Returns:
        str: What was loaded, and which entries are not the backbone's and were ignored.

    Raises:
        ValueError: A weight is missing or has another shape; the message names some.
    """
    wanted = {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    prefix = _find_prefix(set(wanted), tensors)
    missing = [name for name in wanted if prefix + name not in tensors]
    if len(missing) == len(wanted):
        raise ValueError(
            f'{file} holds no weights of this backbone: it expects names such as '
            f'{list_some(wanted)}, and the file has {list_some(tensors)}; set arch= to the '
            'network that the file was made with'
        )
    misshapen = [
        f'{name} {tuple(tensors[prefix + name].shape)} for {tuple(value.shape)}'
        for name, value in wanted.items()
        if prefix + name in tensors and tensors[prefix + name].shape != value.shape
    ]
    if missing or misshapen:
        problems = [f'missing: {list_some(missing)}'] if missing else []
        problems += [f'of another shape: {list_some(misshapen)}'] if misshapen else []
        raise ValueError(
            f'{file} holds only {len(wanted) - len(missing) - len(misshapen)} of the '
            f'{len(wanted)} weights of this backbone ({"; ".join(problems)}); set arch= to the '
            'network that the file was made with'
        )
    network.load_state_dict({name: tensors[prefix + name] for name in wanted}, strict=False)
    used = {prefix + name for name in network.state_dict()}
    ignored = [name for name in tensors if name not in used]
    report = f'loaded all {len(wanted)} weights of the backbone from {file}'
    report += f', below {prefix!r}' if prefix else ''
    return report + (
        f'; ignored {len(ignored)} other entries: {list_some(ignored)}' if ignored else ''
    )


def _find_prefix(wanted: set[str], tensors: dict[str, Tensor]) -> str:
    counts: dict[str, int] = {}
    for name in tensors:
        parts = name.split('.')
        for i in range(len(parts)):
            if '.'.join(parts[i:]) in wanted:
                prefix = '.'.join(parts[:i]) + '.' if i else ''
                counts[prefix] = counts.get(prefix, 0) + 1
    if not counts:
        return ''
    most = max(counts.values())
    # the shortest of the fullest that is not a copy; the order of the file decides the rest
    fullest = [prefix for prefix, count in counts.items() if count == most]
    return min(fullest, key=lambda p: (any(word in p for word in _COPIES), len(p)))


def _flatten(content: Mapping, prefix: str = '') -> Iterator[tuple[str, Tensor]]:
    for name, value in content.items():
        if isinstance(value, Tensor):
            yield f'{prefix}{name}', value
        elif isinstance(value, Mapping):
            yield from _flatten(value, f'{prefix}{name}.')
