"""BigGAN's weights as github.com/ajbrock/BigGAN-PyTorch saves them, under mmagic's names.

Names are those of its BigGAN.py and layers.py; shapes and values are mmagic's, whose spectral norm
of style 'ajbrock' is the same. Its images are RGB (datasets.py reads them by PIL).

The discriminator needs ``act_cfg=dict(inplace=False)`` over mmagic's config for 128 px.
"""

import re

from torch import Tensor

# Of a network, outside of its blocks; the class embeddings have mmagic's names, too.
_LAYERS = {
    'generator': {
        'shared': 'shared_embedding',
        'linear': 'noise2feat',
        'output_layer.0': 'output_layer.bn',
        'output_layer.2': 'output_layer.conv',
    },
    'discriminator': {'linear': 'decision', 'embed': 'proj_y'},
}
_BLOCK_LAYERS = {'conv_sc': 'shortcut.conv'}
_STATISTICS = {'stored_mean': 'running_mean', 'stored_var': 'running_var'}
_OUTPUT_NORM = {'gain': 'weight', 'bias': 'bias'}


def rename_biggan(part: str, network: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the entries of a BigGAN-PyTorch network mmagic's names.

    Blocks and attention layers, which BigGAN-PyTorch numbers by resolution and place, are numbered
    through. Statistics have one name whether training used BatchNorm of PyTorch's, synchronized or
    of BigGAN-PyTorch's own.

    Args:
        part (str): 'generator', 'generator_ema' or 'discriminator'.
        network (dict[str, Tensor]): Its state dict.

    Returns:
        dict[str, Tensor]: The same tensors by mmagic's names.
    """
    pairs = {
        (int(match[1]), int(match[2]))
        for name in network
        if (match := re.match(r'blocks\.(\d+)\.(\d+)\.', name))
    }
    numbers = {f'blocks.{i}.{j}': index for index, (i, j) in enumerate(sorted(pairs))}
    layers = _LAYERS[part.removesuffix('_ema')]
    return {_rename(name, numbers, layers): value for name, value in network.items()}


def _rename(name: str, numbers: dict[str, int], layers: dict[str, str]) -> str:
    if match := re.fullmatch(r'(blocks\.\d+\.\d+)\.(.+)', name):
        return f'conv_blocks.{numbers[match[1]]}.{_rename_in_block(match[2])}'
    layer, _, leaf = name.rpartition('.')
    layer = layer.removesuffix('.bn')
    if layer == 'output_layer.0':
        leaf = _STATISTICS.get(leaf) or _OUTPUT_NORM.get(leaf, leaf)
    return f'{layers.get(layer, layer)}.{leaf}'


def _rename_in_block(name: str) -> str:
    if match := re.fullmatch(r'(bn[12])\.(?:bn\.)?(\w+)', name):
        return f'{match[1]}.bn.{_STATISTICS.get(match[2], match[2])}'
    # a convolution of the block or of the attention; gamma is one number
    if match := re.fullmatch(r'(conv1|conv2|conv_sc|theta|phi|g|o)\.(\w+)', name):
        return f'{_BLOCK_LAYERS.get(match[1], f"{match[1]}.conv")}.{match[2]}'
    return name
