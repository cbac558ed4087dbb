"""Modules that take a prior: its trainable projection, and batch norm conditioned on it."""

from typing import Any, cast

import torch
from mmagic.models.editors.biggan.biggan_snmodule import SNLinear
from mmagic.models.editors.pggan import EqualizedLRLinearModule
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from .float32 import Float32Sequential


class PriorProjection(Float32Sequential):
    """Map a prior into a network's conditional space: G_emb or D_emb of the method.

    One matrix for SNGAN and BigGAN; two layers with a ReLU between them for StyleGAN2
    ("Data InStance Prior (DISP) in Generative Adversarial Networks", arXiv 2012.04256, supplement).
    Always in float32, as are priors.

    Args:
        in_dim (int): D, length of a prior, or of the noise in a self-modulated network.
        out_dim (int): E or F, length of the projection.
        num_layers (int): Linear layers, with a ReLU between each two; the hidden ones are as wide
            as the output. Defaults to 1.
        bias (bool): Whether the layers add a bias. Defaults to False.
        with_spectral_norm (bool): Whether each matrix is divided by its spectral norm.
            Defaults to False.
        sn_style (str): Whose spectral norm: 'torch', or 'ajbrock' for the one of mmagic's BigGAN.
            Defaults to 'torch'.
        sn_eps (float): Epsilon of the spectral norm. Defaults to 1e-6.
        equalized_lr (bool): Whether weights are drawn from N(0, 1) and divided by the root of their
            fan-in at each use, as all weights of StyleGAN2. Defaults to False.

    Raises:
        ValueError: ``num_layers`` is below 1, ``sn_style`` is unknown, or both spectral norm and
            ``equalized_lr`` are asked for.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        num_layers: int = 1,
        bias: bool = False,
        with_spectral_norm: bool = False,
        sn_style: str = 'torch',
        sn_eps: float = 1e-6,
        equalized_lr: bool = False,
    ) -> None:
        if num_layers < 1:
            raise ValueError(
                f'num_layers of a PriorProjection is {num_layers}; it must be 1 or more'
            )
        if sn_style not in ('torch', 'ajbrock'):
            raise ValueError(f"sn_style is {sn_style!r}; it must be 'torch' or 'ajbrock'")
        if with_spectral_norm and equalized_lr:
            raise ValueError(
                'a PriorProjection takes with_spectral_norm=True or equalized_lr=True, not both: '
                'one undoes what the other is for'
            )
        layers: list[nn.Module] = []
        for index in range(num_layers):
            in_features = in_dim if index == 0 else out_dim
            if with_spectral_norm and sn_style == 'ajbrock':
                layer = SNLinear(in_features, out_dim, bias=bias, eps=sn_eps)
            elif equalized_lr:
                cfg = dict(gain=1.0, lr_mul=1.0)
                layer = EqualizedLRLinearModule(
                    in_features, out_dim, bias=bias, equalized_lr_cfg=cfg
                )
            else:
                layer = nn.Linear(in_features, out_dim, bias=bias)
                if with_spectral_norm:
                    layer = spectral_norm(layer, eps=sn_eps)
            layers += [layer] if index == 0 else [nn.ReLU(), layer]
        super().__init__(*layers)
        self.in_dim = in_dim
        self.out_dim = out_dim


class PriorConditionBN(nn.Module):
    r"""Scale and shift a normalized feature map by a projected prior.

    It replaces mmagic's ``SNConditionNorm``, whose scale and shift are looked up by class number,
    and keeps that module's normalization layer under its name ``norm``, so that running statistics
    of mmagic's checkpoints load. mmagic's BigGAN norms take a vector already and stay.

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
        """Normalize, scale and shift (N, K, H, W) by a projected prior (N, E); keep x's type."""
        gain = 1 + self.gain(prior_emb)[:, :, None, None]
        bias = self.bias(prior_emb)[:, :, None, None]
        return (self.norm(x) * gain + bias).to(x.dtype)


def self_modulate(
    norm: nn.Module,
    num_features: int,
    noise_size: int,
    modulation_dim: int,
    **spectral_norm: Any,
) -> None:
    r"""Let a norm's scale and shift follow from the noise through a hidden layer, in place.

    .. math:: h = \max(0, A z + a), \quad
              y = \mathrm{norm}(x) \cdot (1 + W_g h + b_g) + W_b h + b_b

    Self-modulation as published: Chen et al. 2019, arXiv 1810.01365; google/compare_gan,
    arch_ops.py, ``self_modulated_batch_norm``, with h of length 32. Biases begin at zero, all three
    matrices have the network's spectral norm. They compute in the precision of the layers around.

    Args:
        norm (nn.Module): Norm with matrices ``gain`` and ``bias``, which are replaced. It is then
            called with the noise, of which other numbers may follow.
        num_features (int): K, channels of the feature map.
        noise_size (int): Z, length of the noise.
        modulation_dim (int): Length of h.
        **spectral_norm: Arguments of :class:`PriorProjection`.
    """
    for name, sizes in (
        ('hidden', (noise_size, modulation_dim)),
        ('gain', (modulation_dim, num_features)),
        ('bias', (modulation_dim, num_features)),
    ):
        layers = PriorProjection(*sizes, bias=True, **spectral_norm)
        nn.init.zeros_(cast(Tensor, layers[0].bias))
        setattr(norm, name, nn.Sequential(*layers))
    norm.register_forward_pre_hook(_pass_hidden)


def _pass_hidden(norm: nn.Module, args: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    features, noise = args
    hidden = cast(nn.Sequential, norm.hidden)
    return features, hidden(noise[:, : cast(int, hidden[0].in_features)]).relu()


def check_prior(prior: Tensor | None, prior_dim: int, num_images: int, network: str) -> Tensor:
    """Return the prior if it has the shape (``num_images``, ``prior_dim``), else raise ValueError.

    ``network`` is the name of the network that takes the prior, for the message.
    """
    if prior is None:
        raise ValueError(
            f'{network} was given no prior; it needs one of shape ({num_images}, {prior_dim})'
        )
    if not isinstance(prior, torch.Tensor) or prior.shape != (num_images, prior_dim):
        came = tuple(prior.shape) if isinstance(prior, torch.Tensor) else type(prior).__name__
        raise ValueError(
            f'{network} needs a prior of shape ({num_images}, {prior_dim}), one row an image, '
            f'but got {came}; is prior_dim that of the bank?'
        )
    return prior
