"""An endless shuffled order of the data that can be entered at any point, at no cost."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from mmagic.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Dataset, Sampler

from .seeded_draws import takes_positions


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """Pass after pass over the data, each in an order that follows from (seed, pass) alone.

    All processes share one stream of draws: its k-th round goes to them one each, so that together
    they draw what a single process would. Setting ``start`` before the first draw skips so many
    draws of the stream; only the order of the pass that contains ``start`` is computed.

    Data sets that take positions (:class:`ImageFolderDataset`, :class:`SeededDraws`) get
    ``epoch * len(dataset) + index``, and this sampler's seed where they have none of their own;
    any other data set gets plain indices.

    Args:
        dataset (Dataset): The data set; a data loader's config need not give it.
        shuffle (bool): Whether each pass has a random order. Defaults to True.
        seed (int, optional): Seed of the orders. mmengine gives the run's seed, or None where the
            processes have different seeds; then one is drawn and shared. Defaults to None.

    Raises:
        ValueError: The data set is empty, or a folder with a single image.
    """

    def __init__(self, dataset: Dataset, shuffle: bool = True, seed: int | None = None) -> None:
        if not len(dataset):  # type: ignore[arg-type]
            raise ValueError('the data set is empty: there is nothing to draw')
        if takes_positions(dataset) and len(dataset) < 2:
            folder = getattr(getattr(dataset, 'dataset', dataset), 'data_root', None)
            raise ValueError(
                f'a GAN cannot be trained on {len(dataset)} image: the data set {folder!r} needs '
                'at least 2'
            )
        self.dataset = dataset
        self.shuffle = shuffle
        self.rank, self.world_size = get_dist_info()
        self.start = 0
        self._shares_seed = takes_positions(dataset) and dataset.seed is None
        self.seed = sync_random_seed() if seed is None else int(seed)

    @property
    def seed(self) -> int:
        """int: Seed of the orders, and of the data set's draws where it has none of its own."""
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = seed
        if self._shares_seed:
            self.dataset.seed = seed  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)  # type: ignore[arg-type]
        by_position = takes_positions(self.dataset)
        first = self.start + self.rank
        epoch, order = -1, np.arange(size)
        for draw in itertools.count(first, self.world_size):
            if draw // size != epoch:
                epoch = draw // size
                order = self._order_of(epoch, size)
            index = int(order[draw % size])
            yield epoch * size + index if by_position else index

    def __len__(self) -> int:
        """Number of draws of this process in one pass over the data; the stream has no end."""
        return -(-len(self.dataset) // self.world_size)  # type: ignore[arg-type]

    def _order_of(self, epoch: int, size: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(size)
        # torch uses the low 32 bits of a seed only: hash both numbers into them.
        word = np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0]
        return torch.randperm(size, generator=torch.Generator().manual_seed(int(word))).numpy()
