"""Does a generator repeat its training images? The data-copying test and the memorization floor."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .distances import Estimate, check_features, frechet_distance, kernel_distance
from .manifold_scores import nearest_distances

__all__ = ['DataCopying', 'choose_num_cells', 'data_copying', 'memorization_floor']

LEAST_GENERATED = 20
NUM_DRAWS = 5


class DataCopying(NamedTuple):
    """The statistic C_T."""

    value: float
    """Mean over the trials: below 0 towards copying, above 0 towards underfitting, in units of
    about one standard deviation."""
    standard_deviation: float | None
    """That of the trials, over starts of the clustering; None for one cell or one trial. Another
    draw of images moves C_T by about 1."""
    trials: tuple[float, ...]
    """C_T of each trial."""
    num_cells: int
    """Cells that the training set was divided into."""
    used_cells: float
    """Mean number of cells that counted."""


def data_copying(
    generated: Tensor,
    train: Tensor,
    held_out: Tensor,
    num_cells: int | None = None,
    num_trials: int = 5,
    seed: int = 0,
) -> DataCopying:
    """Test for copies (Meehan et al. 2020, arXiv 2004.05675).

    K-means divides the training set into cells. Within a cell, L is an image's distance to its
    nearest training image; a Mann-Whitney test compares L of the m generated and the n held-out
    images there: ``U = #{L(q) > L(p)} + ties / 2``,
    ``Z = (U - (n m / 2 - 1/2)) / sqrt(n m (n + m + 1) / 12)``. C_T is the mean of Z over cells that
    hold more than 20 generated images, weighted by the held-out images in each.

    Args:
        generated (Tensor): Features (M, F).
        train (Tensor): (T, F).
        held_out (Tensor): (N, F).
        num_cells (int | None): Cells. Defaults to None: by :func:`choose_num_cells`.
        num_trials (int): Clusterings, each from a start of its own. Defaults to 5.
        seed (int): Seed of the first one; the next ones follow it. Defaults to 0.

    Returns:
        DataCopying: C_T. It is about standard normal for samples that are as far from the training
        set as held-out images are.

    Raises:
        ValueError: No cell holds enough generated and held-out images; an option is out of range;
            a set is empty, not finite or of another width.
    """
    check_features(1, generated=generated, train=train, held_out=held_out)
    if num_cells is None:
        num_cells = choose_num_cells(len(generated), len(train), len(held_out))
    if not 1 <= num_cells <= len(train) or num_trials < 1:
        raise ValueError(
            f'num_cells must lie between 1 and the {len(train)} training images, and num_trials be '
            f'at least 1, but they are {num_cells} and {num_trials}'
        )
    sets = generated.to(train.device), train, held_out.to(train.device)
    found = [_run_trial(*sets, num_cells, seed + trial) for trial in range(num_trials)]
    trials = tuple(value for value, _ in found)
    spread = float(np.std(trials, ddof=1)) if num_trials > 1 and num_cells > 1 else None
    used_cells = float(np.mean([used for _, used in found]))
    return DataCopying(float(np.mean(trials)), spread, trials, num_cells, used_cells)


def choose_num_cells(num_generated: int, num_train: int, num_held_out: int) -> int:
    """Choose the number of cells, 1 to 20, from the sizes of the sets.

    On average a cell keeps 50 training, 50 generated and 25 held-out images.
    """
    return max(1, min(20, num_train // 50, num_generated // 50, num_held_out // 25))


def rank_statistic(first: Tensor, second: Tensor) -> float:
    """Compare two sets of numbers by their ranks: Z of Mann and Whitney.

    It is positive if ``first`` tends to be larger; about standard normal if neither does.
    """
    m, n = len(first), len(second)
    ordered = second.sort().values
    below = torch.searchsorted(ordered, first).sum()
    not_above = torch.searchsorted(ordered, first, right=True).sum()
    wins = float(below + not_above) / 2
    return (wins - (n * m / 2 - 0.5)) / (n * m * (n + m + 1) / 12) ** 0.5


def divide(train: Tensor, others: Sequence[Tensor], num_cells: int, seed: int) -> list[Tensor]:
    """Divide a set by k-means: the cell, int64, of each of its features and of the others'."""
    from sklearn.cluster import KMeans

    center = train.mean(0, dtype=torch.float64)

    def points(features: Tensor) -> np.ndarray:
        return (features - center.to(features.dtype)).float().cpu().numpy()

    kmeans = KMeans(num_cells, n_init=1, random_state=seed, copy_x=False).fit(points(train))
    labels = [kmeans.labels_, *(kmeans.predict(points(features)) for features in others)]
    return [torch.from_numpy(each.astype(np.int64)).to(train.device) for each in labels]


def _run_trial(
    generated: Tensor, train: Tensor, held_out: Tensor, num_cells: int, seed: int
) -> tuple[float, int]:
    """C_T with one clustering, and the number of cells that counted."""
    cells, generated_cells, held_out_cells = divide(train, (generated, held_out), num_cells, seed)
    total, weight, used = 0.0, 0, 0
    for cell in range(num_cells):
        points = train[cells == cell]
        near = generated[generated_cells == cell]
        unseen = held_out[held_out_cells == cell]
        if len(near) <= LEAST_GENERATED or not len(unseen) or not len(points):
            continue
        z = rank_statistic(nearest_distances(near, points), nearest_distances(unseen, points))
        total, weight, used = total + len(unseen) * z, weight + len(unseen), used + 1
    if not used:
        raise ValueError(
            f'none of the {num_cells} cells holds more than {LEAST_GENERATED} of the '
            f'{len(generated)} generated images and one of the {len(held_out)} held-out: '
            'generate more images, or lower num_cells'
        )
    return total / weight, used


def memorization_floor(
    train: Tensor, held_out: Tensor, num: int, seed: int = 0
) -> dict[str, Estimate]:
    """Measure FID and KID between repeated training images (T, F) and held-out ones (N, F).

    ``num`` training images, as many as are generated where the model is measured, are drawn with
    repetition, as a model would that has learned them by heart. A model that generalizes is nearer
    to the held-out images than that.

    Returns:
        dict[str, Estimate]: 'fid' and 'kid', each with mean and standard deviation of 5 draws.

    Raises:
        ValueError: ``num`` is below 2, or a set has fewer than 2 features, values that are not
            finite, or another width.
    """
    check_features(train=train, held_out=held_out)
    if num < 2:
        raise ValueError(f'num must be at least 2 images in a draw, but is {num}')
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(len(train), (num,), generator=generator) for _ in range(NUM_DRAWS)]
    floors = {}
    for name, measure in (('fid', frechet_distance), ('kid', kernel_distance)):
        values = [measure(train[each.to(train.device)], held_out).value for each in rows]
        floors[name] = Estimate(float(np.mean(values)), float(np.std(values, ddof=1)))
    return floors
