"""mmagic's SNGAN generator with a prior in the place of the class label."""

from typing import Any

import torch
from mmagic.models.editors.sagan import SNGANGenerator
from mmagic.models.editors.sagan.sagan_modules import SNConditionNorm
from mmagic.registry import MODELS
from torch import Tensor

from .check_scale import check_scale
from .prior_condition_bn import PriorConditionBN
from .prior_projection import PriorProjection, check_prior


@MODELS.register_module()
class DISPSNGANGenerator(SNGANGenerator):
    """SNGAN's generator G(z | C(x)), conditioned by G_emb(C(x)) through its batch norms.

    Each of mmagic's class-conditional norms is replaced by a :class:`PriorConditionBN`; all other
    parameters keep mmagic's names and shapes, so its checkpoints load.

    With ``prior_dim=0`` there is no prior: each norm is then fed by the noise itself
    (self-modulation, Chen et al. 2019, the paper's unconditional baseline).

    Args:
        output_scale (int): Height and width of the image in pixels.
        prior_dim (int): D, length of a prior, or 0 for the unconditional baseline.
        prior_emb_dim (int): E, length of the projected prior. Defaults to 128.
        prior_projection (dict, optional): Further arguments of :class:`PriorProjection`.
            Defaults to None.
        num_classes (int, optional): Ignored; lets a config inherit one of mmagic's.
            Defaults to None.
        use_cbn (bool): Ignored, for the same reason. Defaults to True.
        **kwargs: Arguments of mmagic's ``SNGANGenerator``, but for ``pretrained``: start from a
            checkpoint by the GAN's ``pretrained``.

    Raises:
        ValueError: There is no architecture for ``output_scale``, or ``pretrained`` is given.
    """

    def __init__(
        self,
        output_scale: int,
        prior_dim: int,
        prior_emb_dim: int = 128,
        prior_projection: dict | None = None,
        num_classes: int | None = None,
        use_cbn: bool = True,
        **kwargs: Any,
    ) -> None:
        if kwargs.get('pretrained') is not None:
            raise ValueError(
                "DISPSNGANGenerator takes no 'pretrained'; give it to the GAN as "
                "model.pretrained=dict(checkpoint='...')"
            )
        channels_cfg = kwargs.get('channels_cfg') or self._default_channels_cfg
        if isinstance(channels_cfg, dict):
            check_scale(output_scale, channels_cfg, 'channels_cfg', 'DISPSNGANGenerator')
        super().__init__(output_scale, num_classes=1, use_cbn=True, **kwargs)
        self.num_classes = 0
        self.prior_dim = prior_dim
        if prior_dim > 0:
            self.prior_projection = PriorProjection(
                prior_dim, prior_emb_dim, **(prior_projection or {})
            )
        self._replace_norms(prior_emb_dim if prior_dim > 0 else self.noise_size)

    def _replace_norms(self, prior_emb_dim: int) -> None:
        for block in list(self.conv_blocks):
            for name, child in list(block.named_children()):
                if isinstance(child, SNConditionNorm):
                    norm = PriorConditionBN(
                        child.norm,
                        child.norm.num_features,
                        prior_emb_dim,
                        with_spectral_norm=self.blocks_cfg['with_embedding_spectral_norm'],
                        sn_style=self.blocks_cfg['sn_style'],
                        sn_eps=self.blocks_cfg['sn_eps'],
                    )
                    setattr(block, name, norm)

    def forward(
        self,
        noise: Any,
        prior: Tensor | None = None,
        num_batches: int = 0,
        return_noise: bool = False,
        truncation: float = -1.0,
    ) -> Tensor | dict:
        """Generate images.

        Args:
            noise (Tensor | callable | None): (N, Z) noise, a function of a shape that draws it, or
                None to draw it here.
            prior (Tensor, optional): (N, D) normalized priors; must be None if ``prior_dim`` is 0.
                Defaults to None.
            num_batches (int): N, needed where noise is drawn. Defaults to 0.
            return_noise (bool): Whether to return a dict that holds the noise too.
                Defaults to False.
            truncation (float): Clamp noise to [-truncation, truncation]; below 0 no clamp.
                Defaults to -1.0.

        Returns:
            Tensor | dict: (N, 3, H, W) images in [-1, 1] in the channel order of training, or a
            dict with ``fake_img``, ``noise_batch`` and ``prior``.

        Raises:
            ValueError: The prior is missing or of another shape.
        """
        if not isinstance(noise, Tensor):
            noise = (noise or torch.randn)((num_batches, self.noise_size))
        noise = noise.to(next(self.parameters()).device)
        if truncation >= 0:
            noise = noise.clamp(-truncation, truncation)
        if self.prior_dim > 0:
            prior = check_prior(prior, self.prior_dim, len(noise), type(self).__name__)
            condition = self.prior_projection(prior)
        else:
            condition = noise
        # mmagic refuses a float label, but hands on whatever a function returns in its place.
        out = super().forward(
            noise, num_batches=len(noise), label=lambda _: condition, return_noise=return_noise
        )
        if return_noise:
            del out['label']
            out['prior'] = prior
        return out
