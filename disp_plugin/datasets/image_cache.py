"""Decoded images in memory that all workers of a data loader share."""

import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import Lock
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class ImageCache:
    """Keep images of one shape, each by its row, from when it is first decoded.

    The memory is taken page by page as rows are filled. Forked processes share it: what one of them
    decodes none of them decodes again.

    Args:
        num_rows (int): Rows that can be kept, from 0 on.
        shape (Sequence[int]): Shape of an image, of uint8.
    """

    def __init__(self, num_rows: int, shape: Sequence[int]) -> None:
        # anonymous memory, which /dev/shm (64 MB in many containers) does not bound
        memory = mmap.mmap(-1, max(1, num_rows * math.prod(shape)))
        count = num_rows * math.prod(shape)
        self._images = torch.frombuffer(memory, dtype=torch.uint8, count=count).view(-1, *shape)
        self._is_kept = np.frombuffer(mmap.mmap(-1, max(1, num_rows)), dtype=np.bool_)
        # It orders memory, too: who sees that a row is kept sees all of its pixels.
        self._lock = Lock()

    def load(self, rows: np.ndarray, decode: Callable[[int], Tensor]) -> Tensor:
        """Copy the images (N, ...) of rows, keeping those that ``decode`` has to make now."""
        has_room = rows < len(self._images)
        is_kept = has_room.copy()
        with self._lock:
            is_kept[has_room] = self._is_kept[rows[has_room]]
        if is_kept.all():
            return self._images.index_select(0, torch.from_numpy(rows))
        images = torch.stack(
            [
                self._images[row] if kept else decode(row)
                for row, kept in zip(rows.tolist(), is_kept, strict=True)
            ]
        )
        new = has_room & ~is_kept
        self._images[torch.from_numpy(rows[new])] = images[torch.from_numpy(new)]
        with self._lock:
            self._is_kept[rows[new]] = True
        return images


def free_memory() -> int:
    """Tell how many bytes of memory are free for this process; 0 where it cannot be told.

    The limits of containers and of jobs (control groups) count.
    """
    with suppress(OSError, ValueError, KeyError):
        lines = Path('/proc/meminfo').read_text().splitlines()
        known = {name: int(rest.split()[0]) for name, rest in (x.split(':', 1) for x in lines)}
        return max(0, min([known['MemAvailable'] * 1024, *_free_in_groups()]))
    return 0


def _free_in_groups() -> Iterator[int]:
    """Yield what each control group that limits this process leaves it."""
    for line in Path('/proc/self/cgroup').read_text().splitlines():
        _, controllers, group = line.split(':', 2)
        if controllers not in ('', 'memory'):
            continue
        version2 = not controllers
        names = ('memory.max', 'memory.current') if version2 else _NAMES_V1
        top = Path('/sys/fs/cgroup') if version2 else Path('/sys/fs/cgroup/memory')
        place = top / group.lstrip('/')
        for folder in (place, *place.parents):
            with suppress(OSError, ValueError, KeyError):  # no limit: 'max', or no such file
                limit, used = (int((folder / name).read_text()) for name in names)
                stat = (folder / 'memory.stat').read_text().split()
                counts = dict(zip(stat[::2], map(int, stat[1::2]), strict=True))
                # pages of files that were read are given up first
                yield limit - used + counts.get('total_inactive_file', counts['inactive_file'])
            if folder == top:
                break


_NAMES_V1 = ('memory.limit_in_bytes', 'memory.usage_in_bytes')
