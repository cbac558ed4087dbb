"""scikit-learn's Gaussian mixture for many points: in blocks, and with a word on how it goes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.logging import print_log
from scipy.sparse import csr_array
from sklearn.mixture import GaussianMixture
from torch import Tensor

E_STEP_ROWS = 2048
MAX_DENSITY = 0.05
"""Responsibilities of which more than this fraction is not zero are multiplied as dense arrays."""


@dataclass
class Moments:
    """Sums over points by component, float64: responsibilities (C,), points, squares (C, K)."""

    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def of_nothing(cls, num_components: int, dim: int) -> 'Moments':
        """Start with no points."""
        shape = num_components, dim
        return cls(np.zeros(num_components), np.zeros(shape), np.zeros(shape))

    def add(self, points: np.ndarray, resp: np.ndarray) -> None:
        """Add points (n, K) with responsibilities (n, C), which are altered.

        What is dropped of a point's is together less than one rounding of their sum, which is 1.
        """
        resp[resp < np.finfo(resp.dtype).eps / resp.shape[1]] = 0
        self.counts += resp.sum(0, dtype=np.float64)
        is_sparse = np.count_nonzero(resp) < MAX_DENSITY * resp.size
        weights = csr_array(resp).T if is_sparse else resp.T
        self.sums += weights @ points
        self.squares += weights @ (points * points)


class ReportedMixture(GaussianMixture):
    """scikit-learn's mixture that says how EM goes on, with an E-step in blocks of rows.

    In one piece the E-step holds several arrays of priors x components at a time. With 'diag' and
    'spherical' covariances a block's responsibilities are summed up at once to what the M-step
    needs. In many dimensions nearly all of them are zero, so that the sums are sparse products.
    """

    _is_done = False

    def _e_step(
        self, X: np.ndarray | Tensor, *args: object, **kwargs: object
    ) -> tuple[float, np.ndarray | Tensor | Moments]:
        if self._is_done:
            return 0.0, X[:, :1]  # only for the labels that fit_predict returns, which nobody reads
        if not isinstance(X, np.ndarray):
            return super()._e_step(X, *args, **kwargs)
        total, parts = 0.0, []
        moments = Moments.of_nothing(self.n_components, X.shape[1])
        for start in range(0, len(X), E_STEP_ROWS):
            block = X[start : start + E_STEP_ROWS]
            log_prob, log_resp = self._estimate_log_prob_resp(block)
            total += float(log_prob.sum(dtype=np.float64))
            if self.covariance_type in ('diag', 'spherical'):
                moments.add(block, np.exp(log_resp, out=log_resp))
            else:
                parts.append(log_resp)
        return total / len(X), np.concatenate(parts) if parts else moments

    def _m_step(self, X: np.ndarray | Tensor, log_resp: Any, *args: object, **kw: object) -> None:
        if not isinstance(log_resp, Moments):
            super()._m_step(X, log_resp, *args, **kw)
            return
        counts = log_resp.counts + 10 * np.finfo(X.dtype).eps  # as scikit-learn does
        means = log_resp.sums / counts[:, None]
        variances = np.maximum(log_resp.squares / counts[:, None] - means**2, 0) + self.reg_covar
        if self.covariance_type == 'spherical':
            variances = variances.mean(1)
        self.weights_ = (counts / counts.sum()).astype(X.dtype)
        self.means_, self.covariances_ = means.astype(X.dtype), variances.astype(X.dtype)
        self.precisions_cholesky_ = 1 / np.sqrt(self.covariances_)

    def _print_verbose_msg_init_end(self, *_: object) -> None:
        self._is_done = True

    def _print_verbose_msg_iter_end(self, n_iter: int, diff_ll: float) -> None:
        gain = float(diff_ll)
        print_log(
            f'Gaussian mixture, EM iteration {n_iter} of at most {self.max_iter}'
            + (f': gained {gain:.3g} nats a prior' if np.isfinite(gain) else '')
            + f', stops below {self.tol:.3g}',
            logger='current',
        )
