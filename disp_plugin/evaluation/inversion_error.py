"""IvOM: how near a GAN can come to images that it has not seen."""

from torch import Tensor

from .estimate import Estimate

__all__ = ['inversion_error']


def inversion_error(losses: Tensor) -> Estimate:
    """Average the smallest error that inversion reached of each query.

    Inference via optimization (Metz et al. 2017, arXiv 1611.02163), as the paper reports it in its
    Table 7.

    Args:
        losses (Tensor): (S + 1, N) mean squared error of pixels in [-1, 1], of N held-out queries
            at every step of their inversion, as :class:`Inversion` has them.

    Returns:
        Estimate: The mean over queries, and its standard error; no error of a single query.

    Raises:
        ValueError: There is no query, or one whose every error is not finite.
    """
    if losses.dim() != 2 or losses.numel() == 0:
        raise ValueError(
            f'losses must be (steps + 1, queries), both at least 1, but are {tuple(losses.shape)}'
        )
    smallest = losses.double().nan_to_num(nan=float('inf')).min(dim=0).values
    failed = int((~smallest.isfinite()).sum())
    if failed:
        raise ValueError(
            f'{failed} of {len(smallest)} queries were never given a finite image: has this GAN '
            'diverged?'
        )
    if len(smallest) == 1:
        return Estimate(smallest.item())
    return Estimate(smallest.mean().item(), (smallest.std() / len(smallest) ** 0.5).item())
