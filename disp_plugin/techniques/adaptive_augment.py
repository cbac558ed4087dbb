"""Adaptive augmentation: its probability follows the discriminator's overfitting."""

from collections.abc import Mapping

import torch
from mmagic.models.editors.stylegan2.stylegan2_discriminator import ADAAug
from mmagic.registry import MODELS
from torch import Tensor

from disp_plugin.distributed import own_random_numbers

# Pixel blits, geometry and colors: 'bgc', the default of stylegan2-ada-pytorch (train.py).
BGC = (
    *('xflip', 'rotate90', 'xint', 'scale', 'rotate', 'aniso', 'xfrac'),
    *('brightness', 'contrast', 'lumaflip', 'hue', 'saturation'),
)


@MODELS.register_module()
class AdaptiveAugment(ADAAug):
    """ADA, for the ``augmentation`` of any GAN's discriminator.

    Karras et al. 2020 (arXiv 2006.06676), by mmagic's pipeline and controller. After each
    ``update_interval`` steps of D the probability p rises if the mean sign of D's scores of real
    images is above ``ada_target``, else it falls. p is logged as 'augment' and is in the
    checkpoint. Defaults are those of stylegan2-ada-pytorch, which takes ``ada_kimg=100`` where a
    checkpoint is fine-tuned.

    A GAN must publish its scores: those of this package and mmagic's own StyleGAN2 do, and
    :class:`RegularizedBigGAN` and :class:`RegularizedSNGAN` replace mmagic's others.

    Args:
        aug_pipeline (dict, optional): Arguments of mmagic's ``AugmentPipe``: factors of p by
            operation. Defaults to None: 1 for all pixel blits, geometry and colors ('bgc').
        update_interval (int): Steps of D from one change of p to the next. Defaults to 4.
        augment_initial_p (float): p at the start. Defaults to 0.0.
        ada_target (float): Target of the mean sign of the scores of real images.
            Defaults to 0.6.
        ada_kimg (float): Thousands of real images in which p can rise by 1. Defaults to 500.
    """

    def __init__(
        self,
        aug_pipeline: Mapping[str, float] | None = None,
        update_interval: int = 4,
        augment_initial_p: float = 0.0,
        ada_target: float = 0.6,
        ada_kimg: float = 500,
    ) -> None:
        if aug_pipeline is None:
            aug_pipeline = dict.fromkeys(BGC, 1)
        super().__init__(aug_pipeline, update_interval, augment_initial_p, ada_target, ada_kimg)

    def forward(self, img: Tensor) -> Tensor:
        """Augment images (N, 3, H, W) in [-1, 1], each operation with probability p, in float32."""
        with own_random_numbers(img.device), torch.autocast(img.device.type, enabled=False):
            return self.aug_pipeline(img.float())
