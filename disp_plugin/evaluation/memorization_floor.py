"""What a model would reach that does nothing but repeat its training images."""

import torch
from torch import Tensor

from .check_features import check_features
from .estimate import Estimate
from .frechet_distance import fit_gaussian, gaussian_distance
from .kernel_distance import own_row_sums, weighted_sums

NUM_DRAWS = 5


def memorization_floor(
    train: Tensor, held_out: Tensor, num: int, seed: int = 0
) -> dict[str, Estimate]:
    """Measure FID and KID between repeated training images and held-out ones.

    ``num`` training images are drawn with repetition, as a model would that has learned them by
    heart. A model that generalizes is nearer to the held-out images than that.

    Args:
        train (Tensor): (T, F) floating point features.
        held_out (Tensor): (N, F) likewise.
        num (int): Images in a draw; as many as are generated where the model is measured.
        seed (int): Seed of the draws. Defaults to 0.

    Returns:
        dict[str, Estimate]: 'fid' and 'kid', each with mean and standard deviation of 5 draws.

    Raises:
        ValueError: ``num`` is below 2, or a set has fewer than 2 features, values that are not
            finite, or another width.
    """
    check_features(train=train, held_out=held_out)
    if num < 2:
        raise ValueError(f'num must be at least 2 images in a draw, but is {num}')
    held_out = held_out.to(train.device)
    generator = torch.Generator().manual_seed(seed)
    counts = torch.stack(
        [
            torch.randint(len(train), (num,), generator=generator).bincount(minlength=len(train))
            for _ in range(NUM_DRAWS)
        ]
    ).to(train.device)
    unseen = fit_gaussian(held_out)
    distances = [gaussian_distance(fit_gaussian(train, each), unseen) for each in counts]
    return {
        'fid': _summarize(torch.tensor(distances, dtype=torch.float64)),
        'kid': _summarize(_kernel_distances(train, counts.double(), held_out)),
    }


def _kernel_distances(train: Tensor, counts: Tensor, held_out: Tensor) -> Tensor:
    """KID of every draw (D,), from the kernel of each training image and counts (D, T)."""
    drawn = counts.sum(0) > 0
    train, counts = train[drawn], counts[:, drawn]
    num, num_unseen = float(counts[0].sum()), len(held_out)
    pairs = (weighted_sums(train, train, counts.T).T * counts).sum(1)
    # a draw is no pair with itself, but is one with another draw of the same image
    pairs -= counts @ ((train.double().square().sum(1) / train.shape[1] + 1) ** 3)
    once = torch.ones(num_unseen, 1, dtype=torch.float64, device=train.device)
    cross = counts @ weighted_sums(train, held_out, once)[:, 0]
    unseen = own_row_sums(held_out).sum() / (num_unseen * (num_unseen - 1))
    return pairs / (num * (num - 1)) - 2 * cross / (num * num_unseen) + unseen


def _summarize(values: Tensor) -> Estimate:
    return Estimate(float(values.mean()), float(values.std()))
