"""A Gaussian mixture over priors: the paper's sampler for large data, equation (6)."""

import os
import warnings
from contextlib import nullcontext
from typing import Any

import numpy as np
import sklearn
import torch
from mmagic.registry import MODELS
from mmengine.logging import print_log
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from disp_plugin.priors import PriorBank

from .space_sampler import SpaceSampler
from .start_mixture import Start, start_mixture

E_STEP_ROWS = 512
COVARIANCE_TYPES = ('diag', 'spherical', 'tied', 'full')


@MODELS.register_module()
class GMMPriorSampler(SpaceSampler):
    """Draw from a Gaussian mixture that was fitted to the bank by scikit-learn.

    EM runs in float32 on a random subset, from a quick clustering, and stops when an iteration
    gains less than ``tol``. Along principal axes (the default) coordinates are nearly uncorrelated,
    so that diagonal covariances describe them better than raw priors, with fewer numbers; what the
    axes leave out is isotropic noise.

    Args:
        num_components (int): Components. Defaults to 1000.
        covariance_type (str): 'diag', 'spherical', 'tied' or 'full'. Defaults to 'diag'.
        fit_subset (int): At most so many random priors are fitted to. Defaults to 200000, as in the
            paper.
        seed (int): Seed of the subset and the starts. Defaults to 0.
        pca_variance (float, optional): Fit along the principal axes that keep this share of the
            variance; None to fit raw priors. Defaults to 0.95.
        regularization (float): Added to each variance, as a share of the mean variance of a
            coordinate. Defaults to 0.01.
        num_starts (int): Starts of which the likeliest is kept. Defaults to 1.
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
        """See that there are enough priors, and that ``device`` can be used.

        Args:
            bank (PriorBank): The bank.

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
        # 1.5 has no tags of this kind yet
        tags = getattr(GaussianMixture(init_params='random'), '__sklearn_tags__', lambda: None)()
        if not getattr(tags, 'array_api_support', False):
            raise RuntimeError(
                f'GMMPriorSampler with device={self.device!r} needs a scikit-learn whose mixtures '
                f'take torch tensors (1.8 or newer), but here is {sklearn.__version__}; update it, '
                'or leave device out'
            )

    def fit(self, bank: PriorBank) -> None:
        """Fit to a part of the bank.

        Args:
            bank (PriorBank): The bank; its unflipped view is used.

        Raises:
            ValueError: Fewer priors than components, priors that are not finite or all equal, or
                the fit broke down.
            RuntimeError: ``device`` is set, but the array API is not turned on.
        """
        print_log(f'{type(self).__name__}: reading priors of {bank}', logger='current')
        points = self.load_points(bank)
        print_log(f'clustering {points.shape[0]} x {points.shape[1]} to start', logger='current')
        mixtures = [self._run_em(points, self.seed + start) for start in range(self.num_starts)]
        best = max(mixtures, key=lambda mixture: float(mixture.lower_bound_))
        weights, means = (_to_tensor(value) for value in (best.weights_, best.means_))
        covariances = _to_tensor(best.covariances_)
        if self.covariance_type in ('tied', 'full'):
            scales = torch.linalg.cholesky(covariances.double()).float()
        else:
            scales = covariances.sqrt()
        if not all(bool(value.isfinite().all()) for value in (weights, means, scales)):
            raise ValueError('the fit broke down: it is not finite; enlarge regularization')
        self.set_buffer('weights', weights.clamp_min(0) / weights.clamp_min(0).sum())
        self.set_buffer('means', means)
        self.set_buffer('scales', scales)

    def _run_em(self, points: np.ndarray, seed: int) -> GaussianMixture:
        """Run EM from one start."""
        labels = self.start_clusters(points, seed)
        # coordinates are centered, so that their mean square is their variance
        reg_covar = self.regularization * float(np.vdot(points, points)) / points.size
        start = start_mixture(points, labels, self.num_components, self.covariance_type, reg_covar)
        api: Any = nullcontext()
        data: Any = points
        if self.device is not None:
            api = sklearn.config_context(array_api_dispatch=True)
            data = torch.from_numpy(points).to(self.device)
            tensors: Any = [torch.from_numpy(value).to(self.device) for value in start]
            start = Start(*tensors)
        mixture = _ReportedMixture(
            self.num_components,
            covariance_type=self.covariance_type,
            reg_covar=reg_covar,
            tol=self.tol * points.shape[1],
            max_iter=self.max_iters,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=start.precisions,
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

    def draw_points(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw from the mixture.

        Args:
            num (int): How many.
            generator (torch.Generator | None): Source of randomness on the CPU.

        Returns:
            Tensor: (num, K).
        """
        means, scales = self.means, self.scales
        chosen = torch.multinomial(self.weights.cpu(), num, replacement=True, generator=generator)
        chosen = chosen.to(means.device)
        noise = torch.randn(num, means.shape[1], generator=generator).to(means.device)
        if self.covariance_type == 'tied':
            noise = noise @ scales.T
        elif self.covariance_type == 'full':
            noise = torch.stack([scales[c] @ n for c, n in zip(chosen, noise, strict=True)])
        else:
            noise *= scales[chosen].view(num, -1)
        return noise.add_(means[chosen])


class _ReportedMixture(GaussianMixture):
    """scikit-learn's mixture that says how EM goes on, with an E-step in blocks of rows.

    In one piece the E-step holds several arrays of priors x components at a time.
    """

    def _estimate_log_prob_resp(self, X: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if not isinstance(X, np.ndarray) or len(X) <= E_STEP_ROWS:
            return super()._estimate_log_prob_resp(X, *args, **kwargs)
        log_prob = np.empty(len(X), X.dtype)
        log_resp = np.empty((len(X), self.n_components), X.dtype)
        for start in range(0, len(X), E_STEP_ROWS):
            part = slice(start, start + E_STEP_ROWS)
            log_prob[part], log_resp[part] = super()._estimate_log_prob_resp(
                X[part], *args, **kwargs
            )
        return log_prob, log_resp

    def _print_verbose_msg_iter_end(self, n_iter: int, diff_ll: float) -> None:
        gain = float(diff_ll)
        print_log(
            f'Gaussian mixture, EM iteration {n_iter} of at most {self.max_iter}'
            + (f': gained {gain:.3g} nats a prior' if np.isfinite(gain) else '')
            + f', stops below {self.tol:.3g}',
            logger='current',
        )


def _to_tensor(value: Any) -> Tensor:
    return torch.as_tensor(value).detach().cpu().float()
