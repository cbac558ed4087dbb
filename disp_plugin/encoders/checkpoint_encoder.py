"""A local backbone as encoder, for example from self-supervised training on one's own images."""

from mmagic.registry import MODELS
from mmengine.logging import print_log

from .backbone import (
    POOLED,
    Meta,
    NetworkArgs,
    build_backbone,
    cut_at,
    find_library,
    load_all,
    read_checkpoint,
    seeded,
    spell_arguments,
)
from .base_encoder import Preprocessing, PriorEncoder

_DEFAULTS = Meta(
    in_size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation='bilinear'
)


@MODELS.register_module()
class CheckpointEncoder(PriorEncoder):
    """The features of a backbone in a local file.

    Files of ``tools/pretrain_encoder.py`` say themselves which network they hold and how it sees
    images: ``checkpoint`` alone suffices. Those of MoCo, SimCLR, DINO, lightly and mmengine need
    ``arch``; the prefixes of their names are found, and their heads are ignored and reported.

    Args:
        checkpoint (str | None): The file, of ``torch.save`` or ``.safetensors``. Defaults to None.
        arch (str | None): A network of torchvision or timm, such as 'resnet50' or
            'timm/vit_small_patch16_224'. None takes what the file says. Defaults to None.
        arch_kwargs (dict | None): Further arguments of the network. Defaults to None.
        layer (str | None): A module or node whose output, averaged over its positions, is the
            prior. None takes the pooled features. Defaults to None.
        in_size (int | None): Height and width that images are resized to. None takes what the file
            says, else 224. Defaults to None.
        mean (tuple | None): Mean of each channel. None takes what the file says, else ImageNet's.
            Defaults to None.
        std (tuple | None): Standard deviation of each channel, likewise. Defaults to None.
        interpolation (str | None): Of the resize. None takes what the file says, else 'bilinear'.
            Defaults to None.
        untrained (bool): Whether to leave the network untrained, as the control to compare with; a
            ``checkpoint`` then only says which network it is. Defaults to False.
        seed (int): Seed of an untrained network. Defaults to 0.
        precision (str): In which type it computes, as in
            :func:`~disp_plugin.precision.choose_precision`. Defaults to 'float32'.

    Attributes:
        report (str | None): What was loaded and what was ignored; None if untrained.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Neither the file nor ``arch`` says which network it is, there is no such network
            or layer, or the file lacks some of its weights.
    """

    def __init__(
        self,
        checkpoint: str | None = None,
        arch: str | None = None,
        arch_kwargs: NetworkArgs | None = None,
        layer: str | None = None,
        in_size: int | None = None,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        interpolation: str | None = None,
        untrained: bool = False,
        seed: int = 0,
        precision: str = 'float32',
    ) -> None:
        if checkpoint is None and not untrained:
            raise ValueError(
                'CheckpointEncoder needs checkpoint=, or untrained=True for the control'
            )
        tensors, meta = read_checkpoint(checkpoint) if checkpoint is not None else ({}, {})
        if arch is None and 'arch' not in meta:
            raise ValueError(
                f'checkpoint {checkpoint!r} does not say which network it holds; set arch=, for '
                "example arch='resnet50'"
            )
        if arch is None:
            arch, arch_kwargs = meta['arch'], arch_kwargs or meta.get('arch_kwargs')
        known = _DEFAULTS | meta
        in_size = in_size or known['in_size']
        steps = Preprocessing(
            (in_size, in_size),
            None,
            tuple(mean or known['mean']),
            tuple(std or known['std']),
            interpolation or known['interpolation'],
        )
        name = '/'.join(find_library(arch))
        super().__init__(name + spell_arguments(arch_kwargs), layer or POOLED, steps, precision)
        with seeded(seed):
            network = build_backbone(arch, arch_kwargs)
        self.report: str | None = None
        if not untrained:
            self.report = load_all(network, tensors, str(checkpoint))
            print_log(f'CheckpointEncoder: {self.report}', logger='current')
        self.network = cut_at(network, layer, name) if layer else network
        self.seal()
