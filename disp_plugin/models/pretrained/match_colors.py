"""RGB or BGR: the weights next to the image, flipped where a checkpoint has the other order."""

import re
from typing import Any

from torch import Tensor, nn

# How each of mmagic's generators is told to turn the channels of its images.
TURNS = ('bgr2rgb', 'rgb2bgr', 'rgb_to_bgr')

# Last layers of the generators, and first of the discriminators, behind any prefix. Those of a
# BigGAN's first block go by the names of an SNGAN's second, which takes more than three channels.
STYLED_TO_RGB = r'(?:.+\.)?(?:to_rgb1|to_rgbs\.\d+)\.(?:bias|conv\.weight_orig)'
TO_RGB = r'(?:.+\.)?(?:output_layer|to_rgb)\.conv\.(?P<leaf>\w+)'
FROM_RGB = (
    r'(?:.+\.)?(?:convs\.0\.0|from_rgb\.(?:conv_1|shortcut)'
    r'|discriminator\.conv_blocks\.0\.(?:conv1|shortcut))\.conv\.weight(?:_orig|_v)?'
)


def flip_colors(state: dict[str, Tensor]) -> None:
    """Turn networks for RGB images into networks for BGR images, or back.

    Args:
        state (dict[str, Tensor]): Weights under mmagic's names, behind any prefix; changed in
            place. Vectors of the spectral norm are flipped with their weight.
    """
    flipped = {}
    for name, value in state.items():
        if re.fullmatch(STYLED_TO_RGB, name):
            flipped[name] = value.flip(1)
        elif match := re.fullmatch(TO_RGB, name):
            if match['leaf'] in ('weight', 'weight_orig', 'bias', 'weight_u', 'u0'):
                flipped[name] = value.flip(1 if match['leaf'] == 'u0' else 0)
        elif re.fullmatch(FROM_RGB, name) and _takes_images(state, name):
            is_vector = value.ndim == 1
            flipped[name] = value.view(3, -1).flip(0).flatten() if is_vector else value.flip(1)
    state.update(flipped)


def _takes_images(state: dict[str, Tensor], name: str) -> bool:
    return state[re.sub('weight_v$', 'weight_orig', name)].shape[1] == 3


def match_colors(
    gan: nn.Module,
    source: dict[str, Tensor],
    order: str,
    networks: dict[str, Any],
) -> str:
    """Flip the colors of each network that has others than the checkpoint.

    Args:
        gan (nn.Module): The model, whose data preprocessor knows the order of the images.
        source (dict[str, Tensor]): Entries of the checkpoint by the model's names; changed in
            place.
        order (str): 'RGB' or 'BGR', that of the checkpoint.
        networks (dict[str, Any]): The model's networks by the prefix of their entries.

    Returns:
        str: What was done, for the report.
    """
    flipped = []
    preprocessor = getattr(gan, 'data_preprocessor', None)
    data_order = getattr(preprocessor, 'output_channel_order', None) or 'BGR'
    for prefix, network in networks.items():
        # What a network faces is in the order of the data, which the network itself may turn.
        if prefix.startswith('discriminator.'):
            is_turned = getattr(getattr(network, 'discriminator', None), 'input_bgr2rgb', False)
        else:
            is_turned = any(getattr(network, turn, False) for turn in TURNS)
        is_rgb = is_turned != (data_order == 'RGB')
        entries = {key: value for key, value in source.items() if key.startswith(prefix)}
        if entries and is_rgb != (order == 'RGB'):
            flip_colors(entries)
            source.update(entries)
            flipped.append(f'{prefix.split(".")[0]} to {"RGB" if is_rgb else "BGR"}')
    return f'{order} in the checkpoint; flipped: {", ".join(flipped) or "none"}'
