"""Where EM begins: the mixture that a clustering gives."""

from typing import NamedTuple

import numpy as np

from .kmeans_prior_sampler import sum_by_label


class Start(NamedTuple):
    """Parameters of a mixture with C components in K dimensions, float32.

    Attributes:
        weights (np.ndarray): (C,), positive, of sum 1.
        means (np.ndarray): (C, K).
        precisions (np.ndarray): Inverse covariances: (C, K) for 'diag', (C,) for 'spherical',
            (K, K) for 'tied', (C, K, K) for 'full'.
    """

    weights: np.ndarray
    means: np.ndarray
    precisions: np.ndarray


def start_mixture(
    points: np.ndarray, labels: np.ndarray, num_components: int, kind: str, reg_covar: float
) -> Start:
    """Give each cluster the Gaussian of its points.

    Args:
        points (np.ndarray): (N, K).
        labels (np.ndarray): (N,) int, the cluster of each; none of the C clusters is empty.
        num_components (int): C.
        kind (str): 'diag', 'spherical', 'tied' or 'full'.
        reg_covar (float): Added to every variance.

    Returns:
        Start: The mixture.
    """
    counts = np.bincount(labels, minlength=num_components).astype(np.float64)
    means = sum_by_label(points, labels, num_components) / counts[:, None]
    num_axes = points.shape[1]
    if kind in ('diag', 'spherical'):
        squares = sum_by_label(points * points, labels, num_components) / counts[:, None]
        variances = np.maximum(squares - means**2, 0) + reg_covar
        precisions = 1 / (variances if kind == 'diag' else variances.mean(1))
    else:
        identity = reg_covar * np.eye(num_axes)
        within = np.zeros((num_components if kind == 'full' else 1, num_axes, num_axes))
        for component in range(num_components):
            offsets = points[labels == component] - means[component]
            within[component if kind == 'full' else 0] += offsets.T @ offsets
        within /= counts[:, None, None] if kind == 'full' else len(points)
        precisions = np.linalg.inv(within + identity)
        precisions = (precisions + precisions.transpose(0, 2, 1)) / 2
        precisions = precisions if kind == 'full' else precisions[0]
    weights = counts / counts.sum()
    return Start(*(np.asarray(part, np.float32) for part in (weights, means, precisions)))
