"""Random transforms that give the same result in any worker and after a resume."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeGuard

import numpy as np
import torch
from mmagic.registry import DATASETS
from torch.utils.data import Dataset


class PositionalDataset(Protocol):
    """A data set that takes positions ``epoch * len(self) + index`` instead of indices.

    Attributes:
        takes_positions (bool): True.
        seed (int | None): Seed of its draws; None until a sampler hands its own over.
    """

    takes_positions: bool
    seed: int | None

    def __len__(self) -> int: ...

    def __getitem__(self, position: int) -> Any: ...


def takes_positions(dataset: object) -> TypeGuard[PositionalDataset]:
    """Tell whether a data set draws by (seed, epoch, index), so that any draw can be repeated."""
    return bool(getattr(dataset, 'takes_positions', False))


@contextmanager
def keep_randomness() -> Iterator[None]:
    """Restore the states of Python's, NumPy's and torch's (CPU) generators after the block."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def seed_randomness(*seeds: int) -> None:
    """Seed Python, NumPy and torch (CPU) by numbers from 0 on; CUDA's generators stay."""
    words = spawn_words(*seeds)
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2:4])
    # torch.manual_seed would seed the CUDA devices, too, whose state is not kept.
    torch.default_generator.manual_seed(int(words[4]))


def spawn_words(*seeds: int) -> np.ndarray:
    """Hash numbers into five words (uint32): two for Python, two for NumPy, one for torch."""
    return np.random.SeedSequence(seeds).generate_state(5)


@DATASETS.register_module()
class SeededDraws(Dataset):
    """Seeds the random transforms of each draw by what is drawn, not by who draws it.

    It takes positions instead of indices: position ``epoch * len(self) + index`` is the draw of
    image ``index`` in pass ``epoch`` over the data, as :class:`ResumableSampler` yields them. The
    transforms of that draw see random generators seeded by (seed, epoch, index), so that a flip is
    the same with none or many workers, in one process or several, and after a resume.

    Args:
        dataset (dict | Dataset): The data set, or its config.
        seed (int, optional): Seed of the draws. Defaults to None, which is the sampler's seed, and
            so the run's.
    """

    #: Tells a sampler that positions beyond the length are understood.
    takes_positions = True

    def __init__(self, dataset: dict | Dataset, seed: int | None = None) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.seed = seed
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[dict]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, position: int) -> dict:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: list[int]) -> list[dict]:
        """Draw a batch for a data loader; the generators' states are kept only once."""
        with keep_randomness():
            return [self._draw(int(position)) for position in positions]

    def _draw(self, position: int) -> dict:
        if position < 0:
            raise IndexError(f'the position of a draw must not be negative, got {position}')
        epoch, index = divmod(position, len(self))
        seed_randomness(self.seed or 0, epoch, index)
        return self.dataset[index]

    @property
    def metainfo(self) -> dict:
        """dict: Meta information of the data set."""
        return getattr(self.dataset, 'metainfo', {})

    def get_data_info(self, position: int) -> dict:
        """Look up the entry in the data list of the image at a position, without loading it."""
        return self.dataset.get_data_info(position % len(self))  # type: ignore[union-attr]
