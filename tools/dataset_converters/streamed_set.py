"""A prepared set of millions of images: written as they are read, never listed in memory."""

import io
import os
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import BinaryIO

import numpy as np
from PIL import Image
from prepared_set import PreparedSet

from disp_plugin.files import replace_file, write_file


class StreamedSet(PreparedSet):
    """A folder of prepared images with its manifests, for use in a ``with`` block.

    Images are decoded and written by several threads, a few at a time. Those that are there already
    are kept, so an interrupted run goes on where it stopped. The manifests and ``chosen.tsv`` name
    the images in the order in which they were added; they appear when the block ends without an
    error, after the last of the images.

    Args:
        out (str | Path): Folder to write.
        record (dict): What was asked for; strings and numbers only.

    Raises:
        ValueError: The folder was prepared before with another record.
    """

    def __enter__(self) -> 'StreamedSet':
        num_threads = os.cpu_count() or 1
        self._stack = ExitStack()
        # as many wait as keep the threads busy, and no more
        self._max_waiting = 4 * num_threads
        self._waiting: deque[Future[None]] = deque()
        self._lists: dict[str, BinaryIO] = {}
        self._num_images: Counter[str] = Counter()
        self._num_new: Counter[str] = Counter()
        self._chosen_file = self._stack.enter_context(replace_file(self.out / 'chosen.tsv'))
        self._pool = ThreadPoolExecutor(num_threads)
        return self

    def add(self, split: str, key: str, name: str, read: Callable[[], np.ndarray]) -> None:
        """Write one image, unless it is there already.

        Args:
            split (str): Name of its split, which is its manifest's.
            key (str): Its image key, in a folder of the split's name.
            name (str): What the download calls it.
            read (Callable): Gives the image (H,W,3) or (H,W), uint8; called in a thread, and only
                if the image is not there.
        """
        if split not in self._lists:
            manifest = replace_file(self.out / f'{split}.txt')
            self._lists[split] = self._stack.enter_context(manifest)
        self._lists[split].write(f'{key}\n'.encode())
        self._chosen_file.write(f'{key}\t{name}\n'.encode())
        self._num_images[split] += 1
        if (self.out / key).is_file():
            return
        self._num_new[split] += 1
        self._waiting.append(self._pool.submit(self._write, key, read))
        self._wait(self._max_waiting)

    def _write(self, key: str, read: Callable[[], np.ndarray]) -> None:
        buffer = io.BytesIO()
        Image.fromarray(read()).save(buffer, 'PNG')
        write_file(self.out / key, buffer.getvalue(), is_durable=False)

    def _wait(self, num_left: int) -> None:
        """Wait until no more than ``num_left`` images are being written; raise what they raised."""
        while len(self._waiting) > num_left:
            self._waiting.popleft().result()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        """Finish the images that were begun; the lists take their place if nothing went wrong."""
        try:
            if error is None:
                self._wait(0)
        except BaseException as late:
            self._leave(late)
            raise
        self._leave(error)
        if error is None:
            for split, num in self._num_images.items():
                print(f'{self.out / split}: {num} images ({self._num_new[split]} new)')

    def _leave(self, error: BaseException | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._waiting.clear()
        self._stack.__exit__(type(error) if error else None, error, None)
