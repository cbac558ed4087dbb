"""What became of the entries of a checkpoint and of the model that started from it."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class LoadReport:
    """What became of the entries of a checkpoint and of the model.

    Args:
        checkpoint (str): The file, or the files.
        loaded (list[str]): Entries of the model that took the checkpoint's value.
        new (list[str]): Entries of the model that the checkpoint lacks and that keep their
            initial value: the projections of the prior, for example.
        ignored (list[str]): Entries of the checkpoint for which the model has no place: its class
            embeddings, for example.
        mismatched (list[str]): Entries of both whose shapes differ; the model's keep their initial
            value. Never those of a network, but maybe those of a sampler.
        adapted (list[str]): Those of ``loaded`` that the generator changed to fit: the mapping's
            first matrix, where a prior joins the noise.
        estimated (list[str]): Entries of the model that the checkpoint lacks and that were
            computed from its weights: the mean style.
        layout (str): Whose names the entries had: 'mmagic', 'NVlabs', 'rosinality',
            'BigGAN-PyTorch' or 'pfnet SNGAN'. Defaults to 'mmagic'.
        colors (str): What was done about the order of colors. Defaults to ''.
    """

    checkpoint: str
    loaded: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
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
