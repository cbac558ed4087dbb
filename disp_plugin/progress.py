"""Progress of long work, with the time that is left: a bar, or lines in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ['track']

Item = TypeVar('Item')

LOG_SECONDS = 30.0
"""How often progress is written where there is no terminal."""


def track(
    items: Iterable[Item],
    total: int,
    title: str,
    progress: bool = True,
    unit: int = 1,
    done: int = 0,
) -> Iterator[Item]:
    """Yield items under a progress bar; without a terminal, write a line now and then.

    Args:
        items (Iterable): Such as the batches of a data loader.
        total (int): How many items there are, with those that an earlier run did.
        title (str): What is going on.
        progress (bool): Whether to show anything at all. Defaults to True.
        unit (int): What an item counts, such as the images of a batch. Defaults to 1.
        done (int): Items that an earlier run did. Defaults to 0.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console(stderr=True)
    # Workers of a data loader must be forked before the bar's thread runs.
    iterator = iter(items)
    if not progress:
        yield from iterator
        return
    if not console.is_terminal:
        yield from _log(iterator, total, title, unit, done)
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total * unit, completed=done * unit)
        for item in iterator:
            yield item
            bar.advance(task, unit)


def _log(iterator: Iterator[Item], total: int, title: str, unit: int, done: int) -> Iterator[Item]:
    start = last = time.monotonic()
    for number, item in enumerate(iterator, 1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_SECONDS:
            last, left = now, (now - start) / number * (total - done - number)
            print(
                f'{title}: {(done + number) * unit} of {total * unit}, '
                f'about {left / 60:.0f} minutes left',
                file=sys.stderr,
                flush=True,
            )
