"""Start from a checkpoint of mmagic, and say what of it was used."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn


@dataclass
class LoadReport:
    """What became of the entries of a checkpoint and of the model.

    Args:
        checkpoint (str): The file.
        loaded (list[str]): Entries of the model that took the checkpoint's value.
        new (list[str]): Entries of the model that the checkpoint lacks and that keep their
            initial value: the projections of the prior, for example.
        ignored (list[str]): Entries of the checkpoint for which the model has no place: its class
            embeddings, for example.
        mismatched (list[str]): Entries of both whose shapes differ; the model's keep their initial
            value.
    """

    checkpoint: str
    loaded: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        table = Table(title=f'start from {self.checkpoint}')
        for column in ('part', 'loaded', 'new', 'ignored', 'other shape'):
            table.add_column(column)
        groups = (self.loaded, self.new, self.ignored, self.mismatched)
        for part in sorted({key.split('.')[0] for group in groups for key in group}):
            counts = (sum(key.split('.')[0] == part for key in group) for group in groups)
            table.add_row(part, *map(str, counts))
        console = Console(width=100)
        with console.capture() as capture:
            console.print(table)
            for name, keys in (
                ('new', self.new),
                ('ignored', self.ignored),
                ('other shape', self.mismatched),
            ):
                if keys:
                    console.print(f'{name}: {", ".join(keys)}', highlight=False)
        return capture.get()


@torch.no_grad()
def load_pretrained(gan: nn.Module, checkpoint: str, use_ema: bool = True) -> LoadReport:
    """Load into a DISP GAN what a checkpoint of mmagic's GAN and it have in common.

    Networks keep mmagic's parameter names, so all but the class embeddings has a place. Where the
    checkpoint has no moving average of the generator, ours begins as its generator; where it has
    nothing but the moving average, the generator begins as that.

    Args:
        gan (nn.Module): A DISP GAN; changed in place.
        checkpoint (str): A local file or whatever mmengine's loader takes (``https://...``).
        use_ema (bool): Whether the generator, too, starts from the checkpoint's moving average
            if there is one. Defaults to True: it is the better generator.

    Returns:
        LoadReport: What was loaded and what was not; also printed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds no weights that fit: most likely one of another architecture.
    """
    if '://' not in checkpoint and not Path(checkpoint).is_file():
        raise FileNotFoundError(
            f'pretrained.checkpoint is {checkpoint!r}, and there is no such file'
        )
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    source = _rename(loaded.get('state_dict', loaded), use_ema)
    target = gan.state_dict()
    report = LoadReport(checkpoint=str(checkpoint))
    for key, value in target.items():
        if key not in source:
            report.new.append(key)
        elif source[key].shape != value.shape:
            report.mismatched.append(key)
        else:
            report.loaded.append(key)
    report.ignored = [key for key in source if key not in target]
    networks = ('generator.', 'discriminator.')
    num_weights = sum(key.startswith(networks) for key in report.loaded)
    if num_weights <= len(report.mismatched):
        raise ValueError(
            f'{checkpoint} does not fit this model: {num_weights} of its entries fit, '
            f'{len(report.mismatched)} have other shapes, first {report.mismatched[:3]}; '
            f'is it of the same architecture, resolution and width?'
        )
    # In place: in a distributed run the networks are wrapped already, and go by other names.
    for key in report.loaded:
        target[key].copy_(source[key])
    if is_main_process():
        print_log(f'\n{report}', logger='current')
    return report


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
