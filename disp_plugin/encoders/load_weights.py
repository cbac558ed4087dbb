"""State dicts out of files of many makers, and into networks with nothing lost in silence."""

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

#: Where this project's own files say what they are.
META_KEY = 'disp_encoder'

# Copies of a backbone that training keeps beside the one that is meant.
_COPIES = ('student', 'encoder_k', 'momentum', 'target', '_k.')


@dataclass(frozen=True)
class LoadReport:
    """What was done with the entries of a checkpoint.

    Attributes:
        file (str): The checkpoint.
        prefix (str): What stood before the names of the backbone's weights.
        loaded (list[str]): Names of the backbone's weights, all of which were loaded.
        ignored (list[str]): Entries of the checkpoint that are not the backbone's, such as heads.
    """

    file: str
    prefix: str
    loaded: list[str]
    ignored: list[str]

    def __str__(self) -> str:
        text = f'loaded all {len(self.loaded)} weights of the backbone from {self.file}'
        if self.prefix:
            text += f', below {self.prefix!r}'
        if self.ignored:
            text += f'; ignored {len(self.ignored)} other entries: {_some(self.ignored)}'
        return text


def read_checkpoint(file: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors of a checkpoint, without running any code in it.

    Args:
        file (str | Path): ``.safetensors``, or a file of ``torch.save``.

    Returns:
        tuple[dict[str, Tensor], dict]: All tensors, nested names joined by dots, and what
        ``tools/pretrain_encoder.py`` wrote about the backbone (empty for other files).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint, or holds more than tensors and plain values.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(
            f'checkpoint is {str(file)!r}, and there is no such file (looked from {Path.cwd()}). '
            'tools/pretrain_encoder.py makes one from a folder of images'
        )
    if file.suffix == '.safetensors':
        return _read_safetensors(file)
    try:
        content = torch.load(file, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'{file} is not a checkpoint that can be read safely: it is damaged, or holds other '
            f'objects than tensors ({str(error).splitlines()[0]}). If you trust its maker, load it '
            'by torch.load(..., weights_only=False) and save its state dict anew'
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f'{file} is not a checkpoint, or is damaged: {error}') from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{file} holds a {type(content).__name__}, but a checkpoint is a dict of tensors'
        )
    meta = content.get(META_KEY)
    return dict(_flatten(content)), json.loads(meta) if isinstance(meta, str) else {}


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework='pt') as opened:
            meta = (opened.metadata() or {}).get(META_KEY)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f'{file} is not a safetensors file, or is damaged: {error}') from error
    return tensors, json.loads(meta) if meta else {}


def load_all(network: nn.Module, tensors: dict[str, Tensor], file: str | Path) -> LoadReport:
    """Load every weight of a network from a checkpoint, whatever stands before their names.

    The prefix is found by where the network's names end: ``module.encoder_q.`` (MoCo),
    ``backbone.`` (SimCLR, lightly, mmengine), ``teacher.backbone.`` (DINO) and the like. Of several
    complete copies those of a student or a momentum encoder are passed over.

    Args:
        network (nn.Module): Changed in place.
        tensors (dict[str, Tensor]): What :func:`read_checkpoint` returned.
        file (str | Path): Name of the checkpoint, for the report.

    Returns:
        LoadReport: What was loaded and what was left.

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
            f'{_some(list(wanted))}, and the file has {_some(list(tensors))}; set arch= to the '
            'network that the file was made with'
        )
    misshapen = [
        f'{name} {tuple(tensors[prefix + name].shape)} for {tuple(value.shape)}'
        for name, value in wanted.items()
        if prefix + name in tensors and tensors[prefix + name].shape != value.shape
    ]
    if missing or misshapen:
        problems = [f'missing: {_some(missing)}'] if missing else []
        problems += [f'of another shape: {_some(misshapen)}'] if misshapen else []
        raise ValueError(
            f'{file} holds only {len(wanted) - len(missing) - len(misshapen)} of the '
            f'{len(wanted)} weights of this backbone ({"; ".join(problems)}); set arch= to the '
            'network that the file was made with'
        )
    state = {name: tensors[prefix + name] for name in wanted}
    network.load_state_dict(state, strict=False)
    used = {prefix + name for name in network.state_dict()}
    ignored = [name for name in tensors if name not in used]
    return LoadReport(str(file), prefix, list(wanted), ignored)


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


def _flatten(content: Mapping[Any, Any], prefix: str = '') -> Iterator[tuple[str, Tensor]]:
    for name, value in content.items():
        if isinstance(value, Tensor):
            yield f'{prefix}{name}', value
        elif isinstance(value, Mapping):
            yield from _flatten(value, f'{prefix}{name}.')


def _some(names: list[str], limit: int = 4) -> str:
    rest = f', ... ({len(names)} in all)' if len(names) > limit else ''
    return ', '.join(names[:limit]) + rest
