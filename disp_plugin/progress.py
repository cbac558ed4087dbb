"""Progress of long work, with the time that is left, on a terminal."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ['track']

Item = TypeVar('Item')


def track(
    items: Iterable[Item],
    total: int,
    title: str,
    progress: bool = True,
    unit: int = 1,
    done: int = 0,
) -> Iterator[Item]:
    """Yield items under a progress bar; on a pipe or in a log file there is none.

    Args:
        items (Iterable): Such as the batches of a data loader.
        total (int): How many items there are, with those that an earlier run did.
        title (str): What is going on.
        progress (bool): Whether to draw at all. Defaults to True.
        unit (int): What an item counts, such as the images of a batch. Defaults to 1.
        done (int): Items that an earlier run did. Defaults to 0.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console(stderr=True)
    # Workers of a data loader must be forked before the bar's thread runs.
    iterator = iter(items)
    if not progress or not console.is_terminal:
        yield from iterator
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total * unit, completed=done * unit)
        for item in iterator:
            yield item
            bar.advance(task, unit)
