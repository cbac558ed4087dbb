"""The space that a distribution of priors is fitted in: raw priors, or their principal axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA

from disp_plugin.priors import PriorBank

NUM_PCA_ROWS = 20_000
"""Principal axes are found from at most so many random priors."""


def choose_rows(num_rows: int, max_rows: int, seed: int) -> np.ndarray:
    """Choose rows of a bank at random, in the order in which they lie on disk.

    Args:
        num_rows (int): Rows there are.
        max_rows (int): How many to choose at most.
        seed (int): Seed of the choice.

    Returns:
        np.ndarray: (min(num_rows, max_rows),) int64, ascending.
    """
    if num_rows <= max_rows:
        return np.arange(num_rows)
    return np.sort(np.random.default_rng(seed).choice(num_rows, max_rows, replace=False))


@dataclass
class FitSpace:
    """Coordinates of priors around their mean, and the way back.

    Attributes:
        mean (np.ndarray): (D,) float32.
        basis (np.ndarray | None): (K, D) float32 with orthonormal rows, those of the largest
            variance first; None for raw priors.
        residual_std (float): Standard deviation, alike in all directions, of what the basis leaves
            out.
    """

    mean: np.ndarray
    basis: np.ndarray | None = None
    residual_std: float = 0.0

    @classmethod
    def fit(
        cls, bank: PriorBank, rows: np.ndarray, pca_variance: float | None, seed: int
    ) -> FitSpace:
        """Find the mean and, where asked for, the principal axes of some priors.

        Args:
            bank (PriorBank): The bank; its unflipped view is used.
            rows (np.ndarray): (N,) rows of the bank.
            pca_variance (float | None): Share of the variance that the axes keep, in (0, 1]; None
                for raw priors.
            seed (int): Which rows the axes are found from, if there are many.

        Returns:
            FitSpace: The space.

        Raises:
            ValueError: A prior is not finite, or all are equal.
        """
        total = np.zeros(bank.prior_dim)
        low = np.full(bank.prior_dim, np.inf, np.float32)
        high = -low
        for block in read_blocks(bank, rows):
            total += block.sum(0, dtype=np.float64)
            low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
        if np.array_equal(low, high):
            raise ValueError(
                f'all {len(rows)} priors of {bank} are equal: there is no distribution to fit; '
                'see which encoder made them'
            )
        mean = (total / len(rows)).astype(np.float32)
        if pca_variance is None:
            return cls(mean)
        some = rows[choose_rows(len(rows), NUM_PCA_ROWS, seed)]
        priors = np.concatenate(list(read_blocks(bank, some))) - mean
        solver = 'covariance_eigh' if len(priors) >= bank.prior_dim else 'full'
        keep = pca_variance if pca_variance < 1 else None
        pca = PCA(keep, svd_solver=solver, copy=False).fit(priors)
        basis = np.asarray(pca.components_, np.float32)
        # all the variance that is left out, over all directions that are
        kept = float(pca.explained_variance_.sum())
        left_out = max(kept / float(pca.explained_variance_ratio_.sum()) - kept, 0.0)
        return cls(mean, basis, float(np.sqrt(left_out / max(bank.prior_dim - len(basis), 1))))

    def project(self, bank: PriorBank, rows: np.ndarray) -> np.ndarray:
        """Give the coordinates of priors, reading a block of them at a time.

        Args:
            bank (PriorBank): The bank.
            rows (np.ndarray): (N,) rows of it.

        Returns:
            np.ndarray: (N, K) float32, or (N, D) for raw priors.
        """
        num_axes = len(self.mean) if self.basis is None else len(self.basis)
        points = np.empty((len(rows), num_axes), np.float32)
        start = 0
        for block in read_blocks(bank, rows):
            centered = block - self.mean
            points[start : start + len(block)] = (
                centered if self.basis is None else centered @ self.basis.T
            )
            start += len(block)
        return points


def read_blocks(bank: PriorBank, rows: np.ndarray, size: int = 2048) -> Iterator[np.ndarray]:
    """Read priors block by block, so that a bank need not fit into memory.

    Args:
        bank (PriorBank): The bank; its unflipped view is read.
        rows (np.ndarray): (N,) rows of it, ascending.
        size (int): Rows at a time. Defaults to 2048.

    Yields:
        np.ndarray: (n, D) float32.

    Raises:
        ValueError: A prior is not finite; its image is named.
    """
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        block = bank.take(chosen).astype(np.float32)
        bad = ~np.isfinite(block).all(1)
        if bad.any():
            key = bank.keys[int(chosen[bad.argmax()])]
            raise ValueError(
                f'the prior of image {key!r} in {bank} is not finite; rebuild the bank'
            )
        yield block
