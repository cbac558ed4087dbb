"""A bank built by several processes: each encodes a share of the images, the last one merges."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from .bank_errors import BankInUseError, BankWriteError
from .build_bank import encode_part, write_bank
from .build_plan import BuildPlan, check_space, open_if_current, plan_build
from .lock_file import lock_file
from .partial_bank import PartialBank, count_stored, partial_path
from .prior_bank import PriorBank

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Shard:
    """One of the shares of a bank's images.

    Attributes:
        number (int): Which, from 1.
        count (int): Of how many.

    Raises:
        ValueError: There is no such share.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(
                f'there is no shard {self.number} of {self.count}; shards are counted from 1, as '
                f'in --shard 1/{max(1, self.count)}'
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read a shard as it is written on a command line.

        Args:
            text (str): Such as '2/4'.

        Returns:
            Shard: The shard.

        Raises:
            ValueError: It is written in another way, or there is no such share.
        """
        number, _, count = text.partition('/')
        if not (number.isdecimal() and count.isdecimal()):
            raise ValueError(f'a shard must be given as I/N, such as 2/4, but is {text!r}')
        return cls(int(number), int(count))

    def __str__(self) -> str:
        return f'shard {self.number} of {self.count}'

    def rows(self, num_images: int, batch_images: int) -> tuple[int, int]:
        """Say which images belong to it: a run of whole batches, as one process would form them.

        Args:
            num_images (int): Of all shards.
            batch_images (int): Of a batch.

        Returns:
            tuple[int, int]: The first row and the one behind the last; equal where there are fewer
            batches than shards.
        """
        num_batches = -(-num_images // batch_images)
        edges = [num_batches * n // self.count for n in (self.number - 1, self.number)]
        return edges[0] * batch_images, min(edges[1] * batch_images, num_images)

    def file(self, bank_file: str | Path) -> Path:
        """Name the file of its rows, to which a partial file adds ``.part``.

        Args:
            bank_file (str | Path): The bank to be.

        Returns:
            Path: Such as ``bank.safetensors.shard-2-of-4``.
        """
        return Path(f'{bank_file}.shard-{self.number}-of-{self.count}')


def build_shard(
    cfg_or_dataset: Any,
    encoder: Any,
    bank_file: str | Path,
    shard: Shard,
    progress: bool = True,
    overwrite: bool = False,
    **options: Any,
) -> PriorBank | None:
    """Encode one share of the images, and write the bank if all others are done.

    Processes need no connection, only one folder: each adds to a file of its own and resumes it;
    whoever finishes last merges them. The bank is bit for bit that of ``build_bank``.

    Args:
        cfg_or_dataset (Config | dict | Dataset): As for ``build_bank``.
        encoder (PriorEncoder | dict): The encoder or its config.
        bank_file (str | Path): File to write.
        shard (Shard): Which share; all processes must agree on ``count`` and ``batch_size``.
        progress (bool): Whether to draw progress bars on a terminal. Defaults to True.
        overwrite (bool): Whether another bank may be replaced. Defaults to False.
        **options: ``batch_size``, ``device``, ``amp``, ``dtype`` and ``num_workers``.

    Returns:
        PriorBank | None: The bank, opened; None where other shards are not done.

    Raises:
        ValueError: As for ``build_bank``; bad images are those of this share.
        BankWriteError: No permission or no space.
    """
    plan = plan_build(cfg_or_dataset, encoder, bank_file, **options)
    bank = open_if_current(plan, overwrite)
    if bank is not None:
        partial_path(shard.file(bank_file)).unlink(missing_ok=True)
        return bank
    start, stop = shard.rows(len(plan.view), plan.batch_images)
    if start < stop:
        check_space(
            plan.bank_file, plan.count_bytes(stop - start) + plan.count_bytes(len(plan.view))
        )
        _check_first(plan, start)
        part, identity = plan.view.share(start, stop), _identify(plan, shard)
        with encode_part(plan, part, shard.file(bank_file), identity, progress, start):
            print_log(f'{shard} is done: images {start} to {stop - 1} of {len(plan.view)}')
    bank = _merge_if_complete(plan, shard.count, overwrite)
    if bank is None:
        missing = '; '.join(_describe_missing(plan, shard.count)) or 'others end at this moment'
        print_log(f'{bank_file} will be written by the last shard to finish ({missing})')
    return bank


def merge_shards(
    cfg_or_dataset: Any,
    encoder: Any,
    bank_file: str | Path,
    num_shards: int,
    wait_seconds: float = 0.0,
    overwrite: bool = False,
    **options: Any,
) -> PriorBank:
    """Write a bank from its shards, once all are there.

    Args:
        cfg_or_dataset (Config | dict | Dataset): As for the shards.
        encoder (PriorEncoder | dict): As for the shards.
        bank_file (str | Path): File to write.
        num_shards (int): How many there are.
        wait_seconds (float): How long to wait while no shard grows. Defaults to 0.0.
        overwrite (bool): Whether another bank may be replaced. Defaults to False.
        **options: As for the shards.

    Returns:
        PriorBank: The bank, opened.

    Raises:
        ValueError: Shards are not complete, and did not grow for so long; they are named.
    """
    count = Shard(1, num_shards).count
    plan = plan_build(cfg_or_dataset, encoder, bank_file, **options)
    bank = open_if_current(plan, overwrite)
    seen, since = None, time.monotonic()
    while bank is None:
        bank = _merge_if_complete(plan, count, overwrite)
        missing = _describe_missing(plan, count)
        if missing != seen:
            seen, since = missing, time.monotonic()
        if bank is None and time.monotonic() - since >= wait_seconds:
            raise ValueError(
                f'{bank_file} cannot be written, for not all shards are complete, and none grew '
                f'for {wait_seconds / 60:.1f} minutes: {"; ".join(missing) or "one is in use"}. '
                f'Start those again, with the same options and --shard I/{count}'
            )
        if bank is None:
            time.sleep(POLL_SECONDS)
    return bank


def _check_first(plan: BuildPlan, start: int) -> None:
    """Make sure that shares agree on the size of their images, of which each checks its own."""
    try:
        shapes = [plan.view[row].shape for row in (0, start)]
    except Exception:  # it will be reported with all others by the shard that it belongs to
        return
    if shapes[0] != shapes[1]:
        raise ValueError(
            f'the pipeline makes {plan.view.paths[0]} {shapes[0][2]}x{shapes[0][1]} (width x '
            f'height), but {plan.view.paths[start]} {shapes[1][2]}x{shapes[1][1]}; add a crop or '
            'Resize with a fixed scale before LoadPrior'
        )


def _identify(plan: BuildPlan, shard: Shard) -> dict[str, str]:
    start, stop = shard.rows(len(plan.view), plan.batch_images)
    return {**plan.identity, 'share': f'{start}-{stop} in batches of {plan.batch_images}'}


def _list_shards(plan: BuildPlan, count: int) -> Iterator[tuple[Shard, int]]:
    """Give the shards that have images, and how many."""
    for number in range(1, count + 1):
        shard = Shard(number, count)
        start, stop = shard.rows(len(plan.view), plan.batch_images)
        if start < stop:
            yield shard, stop - start


def _describe_missing(plan: BuildPlan, count: int) -> list[str]:
    missing = []
    for shard, num_images in _list_shards(plan, count):
        place = shard.file(plan.bank_file)
        shape, dtype = plan.shape[1:], plan.dtype
        done = count_stored(place, _identify(plan, shard), shape, dtype, plan.batch_images)
        if done < num_images:
            missing.append(f'{shard} has {done} of {num_images} images')
    return missing


def _merge_if_complete(plan: BuildPlan, count: int, overwrite: bool) -> PriorBank | None:
    """Write the bank where every shard is complete and at rest.

    A process leaves its shard before it asks for the lock, so that the last one to get it finds all
    shards at rest.
    """
    with ExitStack() as stack:
        stack.enter_context(_lock(Path(f'{plan.bank_file}.merge'), count))
        bank = open_if_current(plan, overwrite)
        if bank is not None or _describe_missing(plan, count):
            return bank
        partials = []
        for shard, num_images in _list_shards(plan, count):
            place, identity = shard.file(plan.bank_file), _identify(plan, shard)
            try:
                partial = PartialBank(place, identity, plan.shape[1:], plan.dtype)
            except BankInUseError:
                return None
            stack.callback(partial.close)
            if partial.num_done != num_images:
                if not partial.num_done:
                    partial.remove()
                    # Where files cannot be locked, another process may have merged meanwhile.
                    bank = open_if_current(plan, overwrite)
                    if bank is not None:
                        return bank
                print_log(f'{partial.path} was damaged: {shard} must be built again from its end')
                return None
            partials.append(partial)
        write_bank(plan, lambda: chain.from_iterable(partial.blocks() for partial in partials))
        for partial in partials:
            partial.remove()
    return PriorBank.open(plan.bank_file)


@contextmanager
def _lock(path: Path, count: int) -> Iterator[None]:
    """Let one process at a time pass, and leave no file behind."""
    # Without locks two may merge: each writes a file of its own, and renames it when it is whole.
    advice = (
        'should the processes that end last at the same moment fail or leave no bank, write it '
        f'with --merge {count}'
    )
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise BankWriteError.explain(error, path) from error
        if not lock_file(handle, path, advice, wait=True):
            os.close(handle)
            handle = -1
            break
        # Whoever had the lock before deleted the file, which others may have made anew.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        os.close(handle)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        if handle >= 0:
            os.close(handle)
