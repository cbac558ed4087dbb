"""FreezeD: freeze the blocks of the discriminator next to the image."""

from collections.abc import Sequence

from mmagic.models.editors.biggan import BigGANDiscriminator
from mmagic.models.editors.biggan.biggan_modules import SelfAttentionBlock
from mmagic.registry import MODELS
from torch import nn

# Where mmagic's discriminators keep their blocks, from the image on: one each, or a list of them.
BLOCKS = ('from_rgb', 'input_conv', 'conv_blocks', 'convs', 'final_conv')
BLOCK_LISTS = ('conv_blocks', 'convs')


@MODELS.register_module()
class FreezeD:
    """Freeze blocks of a discriminator: weights, statistics and spectral norms.

    Mo et al. 2020 (arXiv 2002.10964). Blocks count from the image: those of SNGAN and BigGAN are
    its residual blocks, those of StyleGAN2 its layer from RGB, its residual blocks and its last
    convolution; an attention belongs to the block before it.

    Args:
        blocks (int | list[str], optional): The number of blocks, or names of submodules of the
            discriminator, as ``['from_rgb', 'conv_blocks.0']``. Defaults to None: 4 of BigGAN (not
            stated in the paper), 5 of any other, as the paper has it for SNGAN.

    Raises:
        ValueError: ``blocks`` is negative or empty, or neither a number nor names.
    """

    def __init__(self, blocks: int | Sequence[str] | None = None) -> None:
        if isinstance(blocks, str):
            blocks = [blocks]
        is_number = isinstance(blocks, int) and not isinstance(blocks, bool) and blocks >= 0
        are_names = isinstance(blocks, list | tuple) and len(blocks) > 0 and all(blocks)
        if blocks is not None and not is_number and not are_names:
            raise ValueError(
                f'blocks of FreezeD is {blocks!r}; it must be a number of blocks, 0 or more, or a '
                'list of names'
            )
        self.blocks = blocks

    def hold(self, discriminator: nn.Module) -> None:
        """Freeze the blocks of one of mmagic's discriminators, in place."""
        for block in self.find(discriminator):
            block.eval().requires_grad_(False)

    def find(self, discriminator: nn.Module) -> list[nn.Module]:
        """Return the frozen modules of one of mmagic's discriminators.

        Raises:
            ValueError: It has no blocks of that name, or not so many.
        """
        num = self.blocks
        if num is None:
            num = 4 if isinstance(discriminator, BigGANDiscriminator) else 5
        if not isinstance(num, int):
            return [_find_module(discriminator, name) for name in num]
        blocks = _list_blocks(discriminator)
        if num > len(blocks):
            raise ValueError(
                f'blocks of FreezeD is {num}, but {type(discriminator).__name__} has {len(blocks)}'
            )
        return [module for block in blocks[:num] for module in block]


def _find_module(discriminator: nn.Module, name: str) -> nn.Module:
    modules = dict(discriminator.named_modules())
    if name not in modules:
        known = ', '.join(child for child, _ in discriminator.named_children())
        raise ValueError(
            f'blocks of FreezeD names {name!r}, and {type(discriminator).__name__} has no such '
            f'module; its parts are {known}'
        )
    return modules[name]


def _list_blocks(discriminator: nn.Module) -> list[list[nn.Module]]:
    """List the blocks from the image on, each with the attention behind it."""
    blocks: list[list[nn.Module]] = []
    for name in BLOCKS:
        part: nn.Module | None = getattr(discriminator, name, None)
        if part is None:
            continue
        for module in part.children() if name in BLOCK_LISTS else [part]:
            if isinstance(module, SelfAttentionBlock) and blocks:
                blocks[-1].append(module)
            else:
                blocks.append([module])
    if not blocks or hasattr(discriminator, 'fromrgb_layers'):  # one of these for each size
        raise ValueError(
            f'the blocks of a {type(discriminator).__name__} cannot be counted; give blocks of '
            'FreezeD as a list of names'
        )
    return blocks
