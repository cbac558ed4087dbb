"""Any discriminator of mmagic, with augmentation before it and blocks of it frozen."""

from typing import Any

from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .name_wrapped import name_wrapped


@MODELS.register_module()
class DiscriminatorWrapper(BaseModule):
    """A discriminator that sees augmented images, or of which some blocks do not learn.

    Both happen in training mode only, for real and fake images and in the steps of both networks,
    since all of them go through the discriminator. Checkpoints of mmagic load into the wrapped
    part.

    Args:
        discriminator (dict | nn.Module): Any discriminator of mmagic, or its config.
        augmentation (dict | nn.Module, optional): What turns (N, 3, H, W) images in [-1, 1] into
            augmented ones, differentiably, or its config, as
            ``dict(type='DiffAugment', policy='color,translation,cutout')``. Defaults to None.
        freeze (dict | FreezeD, optional): Which blocks are frozen, as
            ``dict(type='FreezeD', blocks=5)``. Defaults to None.
        num_classes (int, optional): Classes of a wrapped discriminator whose config does not say
            it, as mmagic's conditional GANs give them. Defaults to None.
        init_cfg (dict, optional): As in mmengine's ``BaseModule``. Defaults to None.

    Raises:
        ValueError: The discriminator has no such blocks.
    """

    def __init__(
        self,
        discriminator: dict | nn.Module,
        augmentation: dict | nn.Module | None = None,
        freeze: Any = None,
        num_classes: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_classes is not None and isinstance(discriminator, dict):
            discriminator = {'num_classes': num_classes, **discriminator}
        self.discriminator: Any = _build(discriminator)
        self.augmentation: Any = _build(augmentation)
        self.freeze = _build(freeze)
        if self.freeze is not None:
            self.freeze.hold(self.discriminator)

    @property
    def num_classes(self) -> int:
        """int: Classes that the wrapped discriminator takes labels of; 0 for none."""
        return getattr(self.discriminator, 'num_classes', 0) or 0

    def forward(self, img: Tensor, *args: Any, augment: bool = True, **kwargs: Any) -> Tensor:
        """Score images.

        Args:
            img (Tensor): (N, 3, H, W) images in [-1, 1].
            *args: Further arguments of the wrapped discriminator, as a label.
            augment (bool): Whether images are augmented in training. Defaults to True.
            **kwargs: Further arguments of the wrapped discriminator.

        Returns:
            Tensor: Scores, as the wrapped discriminator gives them.
        """
        return self.discriminator(self.prepare(img, augment), *args, **kwargs)

    def prepare(self, img: Tensor, augment: bool = True) -> Tensor:
        """Augment images, and see that what is frozen stays so, where training needs it.

        Args:
            img (Tensor): (N, 3, H, W) images in [-1, 1].
            augment (bool): Whether to augment. Defaults to True.

        Returns:
            Tensor: (N, 3, H, W).
        """
        if not self.training:
            return img
        if self.freeze is not None:
            # mmagic's train_step lets all of the discriminator learn after each generator step
            self.freeze.hold(self.discriminator)
        return self.augmentation(img) if augment and self.augmentation is not None else img

    def train(self, mode: bool = True) -> 'DiscriminatorWrapper':
        """Set the mode; frozen blocks stay in evaluation mode, for their buffers' sake.

        mmagic's own discriminator with ADA would augment in both modes; here it is told which.

        Args:
            mode (bool): Whether to train. Defaults to True.

        Returns:
            DiscriminatorWrapper: Itself.
        """
        super().train(mode)
        if hasattr(self.discriminator, 'ada_aug'):
            self.discriminator.with_ada = mode
        if self.freeze is not None:
            self.freeze.hold(self.discriminator)
        return self

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        own = tuple(f'{name}.' for name in self._modules)
        name_wrapped(state_dict, prefix, 'discriminator', own)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _build(part: Any) -> Any:
    return MODELS.build(part) if isinstance(part, dict) else part
