"""Conditional batch norm that is fed by a projected prior."""

from torch import Tensor, nn

from .prior_projection import PriorProjection


class PriorConditionBN(nn.Module):
    r"""Scale and shift a normalized feature map by what a prior says.

    It takes the place of mmagic's ``SNConditionNorm``, whose scale and shift are looked up by class
    number, and keeps that module's normalization layer and its name ``norm`` (so running statistics
    of a checkpoint of mmagic load). mmagic's BigGAN norms are fed by a vector already and stay.

    .. math:: y = \mathrm{norm}(x) \cdot (1 + W_g e) + W_b e

    with e the projected prior ``prior_emb`` (Dumoulin et al. 2017; de Vries et al. 2017).

    Args:
        norm (nn.Module): Normalization layer without an affine part of its own.
        num_features (int): K, channels of the feature map.
        prior_emb_dim (int): E, length of the projected prior.
        with_spectral_norm (bool): Whether the two matrices are spectrally normalized.
            Defaults to False.
        sn_style (str): 'torch' or 'ajbrock'. Defaults to 'torch'.
        sn_eps (float): Epsilon of the spectral norm. Defaults to 1e-12.
    """

    def __init__(
        self,
        norm: nn.Module,
        num_features: int,
        prior_emb_dim: int,
        with_spectral_norm: bool = False,
        sn_style: str = 'torch',
        sn_eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.gain, self.bias = (
            PriorProjection(
                prior_emb_dim,
                num_features,
                with_spectral_norm=with_spectral_norm,
                sn_style=sn_style,
                sn_eps=sn_eps,
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor, prior_emb: Tensor) -> Tensor:
        """Normalize, scale and shift.

        Args:
            x (Tensor): Feature map, (N, K, H, W).
            prior_emb (Tensor): Projected prior, (N, E).

        Returns:
            Tensor: Feature map, (N, K, H, W).
        """
        gain = 1 + self.gain(prior_emb)[:, :, None, None]
        bias = self.bias(prior_emb)[:, :, None, None]
        return self.norm(x) * gain + bias
