"""A Gaussian mixture over priors: the paper's sampler for large data, equation (6)."""

from __future__ import annotations

import functools
import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmagic.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor

from disp_plugin.priors import PriorBank

from .empirical_prior_sampler import choose_rows
from .space_sampler import NUM_COARSE_AXES, SpaceSampler, sum_by_label

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

COVARIANCE_TYPES = ('diag', 'spherical', 'tied', 'full')


@MODELS.register_module()
class GMMPriorSampler(SpaceSampler):
    """Draw from a Gaussian mixture that was fitted to the bank by scikit-learn.

    EM runs in float32 on a random subset, from a quick clustering, and stops when an iteration
    gains less than ``tol``. Along principal axes (the default) coordinates are nearly uncorrelated:
    diagonal covariances describe them better than raw priors, with fewer numbers. What the axes
    leave out is isotropic noise.

    Args:
        num_components (int): Components. Defaults to 1000.
        covariance_type (str): 'diag', 'spherical', 'tied' or 'full'. Defaults to 'diag'.
        fit_subset (int): At most so many random priors are fitted to. Defaults to 200000, as in the
            paper.
        seed (int): Seed of the subset and the starts. Defaults to 0.
        pca_variance (float, optional): Fit along the principal axes that keep this fraction of the
            variance; None to fit raw priors. Defaults to 0.95.
        regularization (float): Added to each variance, as a fraction of the mean variance of a
            coordinate. Defaults to 0.01.
        num_starts (int): Starts; the likeliest mixture is kept. Defaults to 1.
        max_iters (int): EM iterations at most. Defaults to 100.
        tol (float): Gain in log-likelihood, in nats for each prior and coordinate, below which EM
            stops. Defaults to 1e-4.
        device (str, optional): Fit on torch tensors on this device ('cuda') by scikit-learn's array
            API, which needs SCIPY_ARRAY_API=1 in the environment. Defaults to None: NumPy.

    Raises:
        ValueError: An option is out of range.
    """

    weights: Tensor
    means: Tensor
    scales: Tensor

    def __init__(
        self,
        num_components: int = 1000,
        covariance_type: str = 'diag',
        fit_subset: int = 200_000,
        seed: int = 0,
        pca_variance: float | None = 0.95,
        regularization: float = 0.01,
        num_starts: int = 1,
        max_iters: int = 100,
        tol: float = 1e-4,
        device: str | None = None,
    ) -> None:
        super().__init__(num_components, fit_subset, seed, pca_variance)
        if covariance_type not in COVARIANCE_TYPES:
            raise ValueError(
                f'covariance_type must be one of {", ".join(COVARIANCE_TYPES)}, but is '
                f'{covariance_type!r}'
            )
        if not regularization > 0:
            raise ValueError(f'regularization must be positive, but is {regularization}')
        if min(num_starts, max_iters) < 1 or not tol > 0:
            raise ValueError(
                'num_starts and max_iters must be at least 1 and tol positive, but they are '
                f'{num_starts}, {max_iters} and {tol}'
            )
        self.covariance_type = covariance_type
        self.regularization = regularization
        self.num_starts = num_starts
        self.max_iters = max_iters
        self.tol = tol
        self.device = device
        for name in ('weights', 'means', 'scales'):
            self.register_buffer(name, torch.empty(0))

    def check(self, bank: PriorBank) -> None:
        """Check that there are enough priors, and that ``device`` can be used.

        Raises:
            ValueError: Fewer priors than components.
            RuntimeError: ``device`` is set, but scikit-learn cannot fit on tensors here.
        """
        super().check(bank)
        if self.device is None:
            return
        if os.environ.get('SCIPY_ARRAY_API') != '1':
            raise RuntimeError(
                f'GMMPriorSampler with device={self.device!r} needs SCIPY_ARRAY_API=1 in the '
                'environment from the start of the program; set it, or leave device out'
            )
        import sklearn
        from sklearn.mixture import GaussianMixture

        # 1.5 has no tags of this kind yet
        tags = getattr(GaussianMixture(init_params='random'), '__sklearn_tags__', lambda: None)()
        if not getattr(tags, 'array_api_support', False):
            raise RuntimeError(
                f'GMMPriorSampler with device={self.device!r} needs a scikit-learn whose mixtures '
                f'take torch tensors (1.8 or newer), but here is {sklearn.__version__}; update it, '
                'or leave device out'
            )

    def fit_points(self, points: np.ndarray) -> None:
        """Run EM from each start; keep the likeliest mixture.

        Raises:
            ValueError: The fit broke down.
        """
        print_log(f'clustering {points.shape[0]} x {points.shape[1]} to start', logger='current')
        mixtures = [self.run_em(points, self.seed + start) for start in range(self.num_starts)]
        best = max(mixtures, key=lambda mixture: float(mixture.lower_bound_))
        weights, means, covariances = (
            torch.as_tensor(value).detach().cpu().float()
            for value in (best.weights_, best.means_, best.covariances_)
        )
        if self.covariance_type in ('tied', 'full'):
            scales = torch.linalg.cholesky(covariances.double()).float()
        else:
            scales = covariances.sqrt()
        if not all(value.isfinite().all() for value in (weights, means, scales)):
            raise ValueError('the fit broke down: it is not finite; enlarge regularization')
        self.set_buffer('weights', weights.clamp_min(0) / weights.clamp_min(0).sum())
        self.set_buffer('means', means)
        self.set_buffer('scales', scales)

    def run_em(self, points: np.ndarray, seed: int) -> GaussianMixture:
        """Run EM from one start."""
        # here, since sampling needs none of it
        import sklearn
        from sklearn.exceptions import ConvergenceWarning

        from .reported_mixture import ReportedMixture

        labels = self.cluster(self._keep_coarse(points, seed), seed)
        # coordinates are centered: their mean square is their variance
        reg_covar = self.regularization * float(np.vdot(points, points)) / points.size
        start = start_mixture(points, labels, self.num_components, self.covariance_type, reg_covar)
        data: np.ndarray | Tensor = points
        api: AbstractContextManager = nullcontext()
        if self.device is not None:
            api = sklearn.config_context(array_api_dispatch=True)
            data = torch.from_numpy(points).to(self.device)
            start = {name: torch.as_tensor(part).to(self.device) for name, part in start.items()}
        mixture = ReportedMixture(
            self.num_components,
            covariance_type=self.covariance_type,
            reg_covar=reg_covar,
            tol=self.tol * points.shape[1],
            max_iter=self.max_iters,
            **start,
            init_params='random',  # never used, but the array API refuses the default
            random_state=seed,
        )
        with api, warnings.catch_warnings():
            warnings.simplefilter('ignore', ConvergenceWarning)  # reported below
            mixture.fit(data)
        if not mixture.converged_:
            print_log(
                f'the Gaussian mixture still gained after {self.max_iters} iterations of EM; '
                'raise max_iters or tol of the sampler',
                logger='current',
                level=30,
            )
        return mixture

    def _keep_coarse(self, points: np.ndarray, seed: int) -> np.ndarray:
        """Keep the axes of most variance, along which clusters are found quickly."""
        if points.shape[1] <= NUM_COARSE_AXES:
            return points
        if self.pca_variance is not None:  # the axes come in the order of their variance
            return points[:, :NUM_COARSE_AXES]
        from sklearn.decomposition import PCA

        some = points[choose_rows(len(points), 4000, seed)]
        num_axes = min(NUM_COARSE_AXES, len(some))
        axes = PCA(num_axes, copy=False, svd_solver='randomized', random_state=seed).fit(some)
        return points @ axes.components_.T

    def draw_points(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw from the mixture."""
        means, scales = self.means, self.scales
        drawn = torch.multinomial(self.weights.cpu(), num, replacement=True, generator=generator)
        chosen = drawn.to(means.device)
        noise = torch.randn(num, means.shape[1], generator=generator).to(means.device)
        if self.covariance_type == 'tied':
            noise = noise @ scales.T
        elif self.covariance_type == 'full':
            noise = torch.stack([scales[c] @ n for c, n in zip(drawn.tolist(), noise, strict=True)])
        else:
            noise *= scales[chosen].view(num, -1)
        return noise.add_(means[chosen])


def start_mixture(
    points: np.ndarray, labels: np.ndarray, num_components: int, kind: str, reg_covar: float
) -> dict[str, np.ndarray | Tensor]:
    """Give each cluster the Gaussian of its points (N, K); no cluster may be empty.

    ``reg_covar`` is added to every variance. Returned are scikit-learn's arguments, float32:
    ``weights_init`` (C,), ``means_init`` (C, K) and ``precisions_init``, inverse covariances,
    (C, K) for 'diag', (C,) for 'spherical', (K, K) for 'tied', (C, K, K) for 'full'.
    """
    counts = np.bincount(labels, minlength=num_components).astype(np.float64)
    means = sum_by_label(points, labels, num_components) / counts[:, None]
    if kind in ('diag', 'spherical'):
        squares = sum_by_label(points * points, labels, num_components) / counts[:, None]
        variances = np.maximum(squares - means**2, 0) + reg_covar
        precisions = 1 / (variances if kind == 'diag' else variances.mean(1))
    else:
        offsets = (points[labels == label] - mean for label, mean in enumerate(means))
        products = (part.T @ part for part in offsets)
        if kind == 'full':
            covariances = np.stack(list(products)) / counts[:, None, None]
        else:
            covariances = functools.reduce(np.add, products) / len(points)
        precisions = np.linalg.inv(covariances + reg_covar * np.eye(points.shape[1]))
        precisions = (precisions + np.swapaxes(precisions, -1, -2)) / 2
    parts = {'weights': counts / counts.sum(), 'means': means, 'precisions': precisions}
    return {f'{name}_init': part.astype(np.float32) for name, part in parts.items()}
