"""Convert SNGAN weights of github.com/pfnet-research/sngan_projection to mmagic's layout.

    python tools/model_converters/sngan_pfnet.py FOLDER --out checkpoints/sngan.safetensors

FOLDER holds one .npz of Chainer for each network, as ResNetGenerator_450000.npz and
SNResNetProjectionDiscriminator_450000.npz. Names are those of gen_models/, dis_models/ and
source/links/ there; shapes are PyTorch's. Images are RGB (PIL reads them).

The networks that start from it need other options than mmagic's: ``blocks_cfg=dict(
type='NarrowSNGANDiscResBlock')`` for the discriminator and ``norm_eps=2e-5`` for the generator.
"""

import re

import network_files
import torch
from network_files import Layout, Network
from torch import Tensor

_LEAVES = {
    'W': 'weight',
    'b': 'bias',
    'u': 'u0',
    'gamma': 'weight',
    'beta': 'bias',
    'avg_mean': 'running_mean',
    'avg_var': 'running_var',
}
_BLOCK_LAYERS = {'c1': 'conv_1.conv', 'c2': 'conv_2.conv', 'c_sc': 'shortcut.conv'}
_CLASS_LAYERS = {'gammas': 'weight_embedding', 'betas': 'bias_embedding'}


def rename_sngan(part: str, network: Network) -> dict[str, Tensor]:
    """Give the entries of a pfnet SNGAN network mmagic's names.

    The last layer of the network for 32 px, which has no bias, gets one of zero.
    """
    is_scorer = part == 'discriminator'
    state = {
        _rename(name, is_scorer): value
        for name, value in network.items()
        if not name.endswith('/N')  # batches seen; mmagic's momentum does not use it
    }
    if is_scorer:
        state.setdefault('decision.bias', torch.zeros(1))
    return state


def _rename(name: str, is_scorer: bool) -> str:
    *layers, leaf = name.split('/')
    leaf = _LEAVES.get(leaf, leaf)
    if match := re.fullmatch(r'block(\d+)', layers[0]):
        # block1 is the discriminator's first; the generator's blocks begin with block2
        block = 'from_rgb' if match[1] == '1' else f'conv_blocks.{int(match[1]) - 2}'
        return f'{block}.{_rename_in_block(layers[1:])}.{leaf}'
    if is_scorer:
        return f'{"proj_y" if layers[0] == "l_y" else "decision"}.{leaf}'
    if layers[0] == 'l1':
        return f'noise2feat.{leaf}'
    # the last two layers are numbered by the size: b7 and l7, b6 and l6, b5 and c5
    return f'to_rgb.{"bn" if layers[0].startswith("b") else "conv"}.{leaf}'


def _rename_in_block(layers: list[str]) -> str:
    first, *rest = layers
    if first in _BLOCK_LAYERS:
        return _BLOCK_LAYERS[first]
    norm = f'norm_{first.removeprefix("b")}'
    return f'{norm}.{_CLASS_LAYERS[rest[0]]}' if rest else f'{norm}.norm'


LAYOUT = Layout(
    'pfnet SNGAN',
    ('block2/b1/avg_mean', 'block1/c1/W'),
    rename_sngan,
    (
        ('generator', r'\w*Generator_(\d+)\.npz'),
        ('discriminator', r'\w*Discriminator_(\d+)\.npz'),
    ),
    is_in_place=False,
)


def main(argv: list[str] | None = None) -> None:
    """Convert what the command line names."""
    network_files.main(__doc__, [LAYOUT], argv)


if __name__ == '__main__':
    main()
