"""mmagic's BigGAN generator with a prior in the place of the class label."""

from typing import Any

from mmagic.models.editors.biggan import BigGANGenerator
from mmagic.registry import MODELS
from torch import Tensor, nn

from .check_scale import BIGGAN_SCALES, check_scale
from .prior_projection import PriorProjection, check_prior


@MODELS.register_module()
class DISPBigGANGenerator(BigGANGenerator):
    """BigGAN's generator G(z | C(x)), conditioned by G_emb(C(x)) through its batch norms.

    The prior, projected to ``shared_dim``, takes the place of BigGAN's shared class embedding; with
    ``split_noise`` a chunk of the noise is appended to it in every block (the paper's hierarchical
    latent). All other parameters keep mmagic's names and shapes, so its checkpoints load.

    With ``prior_dim=0`` there is no prior: with ``split_noise`` each norm is then fed by its chunk
    of noise alone (self-modulation, the unconditional baseline), without it norms are plain.

    Args:
        output_scale (int): Height and width of the image in pixels.
        prior_dim (int): D, length of a prior, or 0 for the unconditional baseline.
        shared_dim (int): E, length of the projected prior. Defaults to 128, as in the paper.
        prior_projection (dict, optional): Further arguments of :class:`PriorProjection`.
            Defaults to None.
        num_classes (int, optional): Ignored; lets a config inherit one of mmagic's.
            Defaults to None.
        with_shared_embedding (bool): Ignored, for the same reason; a prior is always shared by the
            blocks. Defaults to True.
        **kwargs: Arguments of mmagic's ``BigGANGenerator``.

    Raises:
        ValueError: There is no architecture for ``output_scale``.
    """

    def __init__(
        self,
        output_scale: int,
        prior_dim: int,
        shared_dim: int = 128,
        prior_projection: dict | None = None,
        num_classes: int | None = None,
        with_shared_embedding: bool = True,
        **kwargs: Any,
    ) -> None:
        if not kwargs.get('arch_cfg'):
            check_scale(output_scale, BIGGAN_SCALES, 'arch_cfg', 'DISPBigGANGenerator')
        has_prior = prior_dim > 0
        super().__init__(
            output_scale,
            num_classes=int(has_prior),
            with_shared_embedding=has_prior,
            shared_dim=shared_dim,
            **kwargs,
        )
        self.prior_dim = prior_dim
        if has_prior:
            self.shared_embedding = nn.Identity()
            self.prior_projection = PriorProjection(
                prior_dim, shared_dim, **(prior_projection or {})
            )

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
        options = dict(num_batches=num_batches, return_noise=return_noise, truncation=truncation)
        if self.prior_dim == 0:
            return super().forward(noise, **options)
        num_images = noise.shape[0] if isinstance(noise, Tensor) else num_batches
        check_prior(prior, self.prior_dim, num_images, type(self).__name__)
        prior_emb = self.prior_projection(prior)
        out = super().forward(noise, label=prior_emb, use_outside_embedding=True, **options)
        if return_noise:
            del out['label']
            out['prior'] = prior
        return out
