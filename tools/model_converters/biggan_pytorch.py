"""Convert BigGAN weights of github.com/ajbrock/BigGAN-PyTorch to mmagic's layout.

    python tools/model_converters/biggan_pytorch.py FOLDER --out checkpoints/biggan.safetensors

FOLDER holds G.pth, G_ema.pth and D.pth of one snapshot, or with its name as G_best0.pth. Names are
those of BigGAN.py and layers.py there; shapes and values are mmagic's, whose spectral norm of style
'ajbrock' is the same. Images are RGB (datasets.py reads them by PIL).

``--technique transfer_biggan_pytorch`` starts any config of BigGAN at 128 px from it. Over mmagic's
own config its discriminator needs ``act_cfg=dict(inplace=False)``.
"""

import re

import network_files
from network_files import Layout, Network
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


def rename_biggan(part: str, network: Network) -> dict[str, Tensor]:
    """Give the entries of a BigGAN-PyTorch network mmagic's names.

    Blocks and attention layers, which BigGAN-PyTorch numbers by resolution and place, are numbered
    through. Statistics have one name whether training used BatchNorm of PyTorch's, synchronized or
    of BigGAN-PyTorch's own.
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


LAYOUT = Layout(
    'BigGAN-PyTorch',
    ('output_layer.2.weight', 'embed.u0'),
    rename_biggan,
    (
        ('generator', r'G(?:_(?!ema|optim)(.+))?\.pth'),
        ('generator_ema', r'G_ema(?:_(.+))?\.pth'),
        ('discriminator', r'D(?:_(?!optim)(.+))?\.pth'),
    ),
    is_in_place=False,
)


def main(argv: list[str] | None = None) -> None:
    """Convert what the command line names."""
    network_files.main(__doc__, [LAYOUT], argv)


if __name__ == '__main__':
    main()
