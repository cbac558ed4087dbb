"""Normalization of priors, with its statistics in the checkpoint."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIOR_NORMS = ('none', 'l2', 'centered_l2', 'whitened')

MAX_FIT_PRIORS = 50_000
"""'whitened' is fitted to at most so many random priors of the bank."""


class FittedModule(nn.Module):
    """A module whose buffers are fitted to data, so that their sizes are known only afterwards.

    Buffers begin empty, are set by :meth:`set_buffer`, are saved with the model and take the size
    of what is loaded: sampling from a checkpoint needs neither bank nor data set. Whether the
    module is fitted is judged by its own buffers, not by those of its children: without a buffer
    that begins empty it counts as fitted, and ``fit`` is never called.
    """

    def set_buffer(self, name: str, value: Tensor) -> None:
        """Set a registered buffer to a value of any size, on the buffer's device."""
        device = self._buffers[name].device  # type: ignore[union-attr]
        # in the layout that it has when it is loaded: products are then the same bit for bit
        self._buffers[name] = value.detach().contiguous().to(device)

    def forget(self) -> None:
        """Take back what was fitted."""
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.new_empty(0)

    @property
    def is_fitted(self) -> bool:
        """bool: Whether every buffer holds something."""
        return all(buffer is not None and buffer.numel() > 0 for buffer in self.buffers(False))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        for name, buffer in self._buffers.items():
            value = state_dict.get(prefix + name)
            if isinstance(value, Tensor) and buffer is not None and value.shape != buffer.shape:
                self._buffers[name] = buffer.new_empty(value.shape, dtype=value.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args)


class PriorNormalizer(FittedModule):
    r"""Bring priors to a common scale before the networks see them.

    Features after a ReLU are nearly parallel, so that without centering their conditions barely
    differ, and their length decides how strong the condition is. All modes but 'none' give vectors
    of length L, by default :math:`\sqrt{D}`:

    - 'none': as they are; the paper mentions no normalization.
    - 'l2': :math:`L\, p / |p|`.
    - 'centered_l2': :math:`L\, (p - m) / |p - m|` with m the mean of the bank.
    - 'whitened': :math:`L / \sqrt{K}\, U^T S^{-1} U (p - m)` with U (K, D) the K principal
      directions of the bank and S (K) its standard deviations along them; L is then the root mean
      square of the lengths.

    Args:
        prior_dim (int): D, length of a prior.
        mode (str): One of those four. Defaults to 'none'.
        length (float, optional): L. Defaults to None: :math:`\sqrt{D}`.

    Raises:
        ValueError: The mode is unknown, or the length is not positive or has no use.
    """

    mean: Tensor
    directions: Tensor
    deviations: Tensor

    def __init__(
        self,
        prior_dim: int,
        mode: str = 'none',
        length: float | None = None,
    ) -> None:
        super().__init__()
        if mode not in PRIOR_NORMS:
            raise ValueError(f'prior_norm is {mode!r}; it must be one of {", ".join(PRIOR_NORMS)}')
        if length is not None and mode == 'none':
            raise ValueError(
                f"prior_length is {length}, but prior_norm='none' leaves priors as long as they "
                "are; set prior_norm to 'l2', 'centered_l2' or 'whitened'"
            )
        if length is not None and not 0 < length < math.inf:
            raise ValueError(f'prior_length must be positive and finite, but is {length}')
        self.prior_dim = prior_dim
        self.mode = mode
        self.length = prior_dim**0.5 if length is None else length
        if mode in ('centered_l2', 'whitened'):
            self.register_buffer('mean', torch.empty(0))
        if mode == 'whitened':
            self.register_buffer('directions', torch.empty(0, prior_dim))
            self.register_buffer('deviations', torch.empty(0))

    def fit(self, priors: Tensor) -> None:
        """Compute the mode's statistics from a bank's priors, (M, D) or (M, V, D) with V views.

        Raises:
            ValueError: Priors are of another length, or all alike: centering leaves nothing.
        """
        priors = priors.reshape(-1, priors.shape[-1])
        if priors.shape[1] != self.prior_dim:
            raise ValueError(
                f'prior_dim is {self.prior_dim} but the priors to fit have length {priors.shape[1]}'
            )
        if self.mode in ('none', 'l2'):
            return
        mean = _mean(priors)
        if torch.allclose(priors[:1000].float(), mean, rtol=1e-5, atol=1e-12):
            raise ValueError(
                f'prior_norm={self.mode!r} subtracts the mean of the bank, but its '
                f"{len(priors)} priors are all the same; use prior_norm='l2' or other images"
            )
        self.set_buffer('mean', mean)
        if self.mode == 'whitened':
            self._fit_directions(priors)

    def _fit_directions(self, priors: Tensor) -> None:
        if len(priors) > MAX_FIT_PRIORS:
            chosen = torch.randperm(len(priors), generator=torch.Generator().manual_seed(0))
            priors = priors[chosen[:MAX_FIT_PRIORS].sort().values]
        solver = 'covariance_eigh' if len(priors) > self.prior_dim else 'full'
        from sklearn.decomposition import PCA  # here, since it takes a second that few runs need

        pca = PCA(svd_solver=solver).fit(priors.double().cpu().numpy())
        kept = pca.explained_variance_ > 1e-7 * pca.explained_variance_[0]
        self.set_buffer('directions', torch.from_numpy(pca.components_[kept]).float())
        self.set_buffer(
            'deviations', torch.from_numpy(pca.explained_variance_[kept] ** 0.5).float()
        )

    def forward(self, prior: Tensor) -> Tensor:
        """Normalize raw priors (N, D); return float32.

        Raises:
            RuntimeError: The mode needs statistics that were not fitted.
        """
        prior = prior.float()
        if self.mode == 'none':
            return prior
        if not self.is_fitted:
            raise RuntimeError(
                f'prior_norm={self.mode!r} needs the statistics of the bank, which are not fitted: '
                'PriorSamplerHook does it before training, and a checkpoint carries them'
            )
        if self.mode == 'l2':
            return F.normalize(prior, dim=1) * self.length
        if self.mode == 'centered_l2':
            return F.normalize(prior - self.mean, dim=1) * self.length
        with torch.autocast(prior.device.type, enabled=False):
            whitened = (prior - self.mean) @ self.directions.T / self.deviations
            return whitened @ self.directions * (self.length / len(self.deviations) ** 0.5)

    def extra_repr(self) -> str:
        """Show the mode where the model is printed, and the length where there is one."""
        return f'mode={self.mode!r}' + (f', length={self.length:g}' if self.mode != 'none' else '')


def _mean(priors: Tensor, chunk: int = 65_536) -> Tensor:
    total = torch.zeros(priors.shape[1], dtype=torch.float64)
    for rows in priors.split(chunk):
        total += rows.double().sum(dim=0).cpu()
    return (total / len(priors)).float()
