"""Sizes that a StyleGAN2 cannot have, told before a bank is built for them."""

from collections.abc import Mapping
from typing import Any

from disp_plugin.cli.check_options import accepted_fields, find_class

__all__ = ['check_sizes', 'find_stylegan2_networks']


def find_stylegan2_networks(model: Mapping[str, Any]) -> list[Any]:
    """Find the networks of a model's config that are mmagic's StyleGAN2 or made of it.

    Args:
        model (Mapping[str, Any]): The model's config.

    Returns:
        list[Any]: Configs of the networks that take ``num_fp16_scales``, the mark of StyleGAN2's.
    """
    networks = [model.get('generator'), model.get('discriminator')]
    networks += [n.get('discriminator') for n in networks if isinstance(n, Mapping)]
    built = [n for n in networks if isinstance(n, Mapping) and find_class(n.get('type'))]
    return [n for n in built if 'num_fp16_scales' in (accepted_fields(find_class(n['type'])) or ())]


def check_sizes(cfg: Mapping[str, Any]) -> None:
    """Check image and batch size of a run with a StyleGAN2; of any other GAN nothing.

    Its discriminator compares the images of a batch in groups (4 unless ``mbstd_cfg`` says
    otherwise), which a larger batch must consist of.

    Args:
        cfg (Mapping[str, Any]): The resolved config.

    Raises:
        ValueError: A size is none that StyleGAN2 can have.
    """
    from disp_plugin.models.image_size import STYLEGAN2_SCALES

    batch = cfg['train_dataloader']['batch_size']
    for network in find_stylegan2_networks(cfg['model']):
        size = network.get('out_size') or network.get('in_size')
        if size not in STYLEGAN2_SCALES:
            raise ValueError(
                f'StyleGAN2 has no architecture for images of {size} px; set image_size to one of '
                f'{", ".join(map(str, STYLEGAN2_SCALES))}'
            )
        group = (network.get('mbstd_cfg') or {}).get('group_size', 4)
        if 'in_size' in network and batch > group and batch % group:
            raise ValueError(
                f"batch_size is {batch}, but StyleGAN2's discriminator compares images in groups "
                f'of {group}: set batch_size to {batch // group * group} or '
                f'{(batch // group + 1) * group}, or to less than {group}'
            )
