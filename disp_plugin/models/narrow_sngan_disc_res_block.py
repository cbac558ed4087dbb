"""The residual block of the published SNGAN's discriminator, narrower inside than mmagic's."""

from typing import Any

from mmagic.models.editors.sagan.sagan_modules import SNGANDiscResBlock
from mmagic.registry import MODELS


@MODELS.register_module()
class NarrowSNGANDiscResBlock(SNGANDiscResBlock):
    """mmagic's block with as many channels between its convolutions as it takes in.

    So are those of github.com/pfnet-research/sngan_projection (dis_models/resblocks.py); mmagic's
    have as many as they give out. A discriminator that is to start from pfnet's weights has
    ``blocks_cfg=dict(type='NarrowSNGANDiscResBlock')``.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        **kwargs: Further arguments of mmagic's ``SNGANDiscResBlock``.
    """

    def __init__(self, in_channels: int, out_channels: int, **kwargs: Any) -> None:
        super().__init__(in_channels, out_channels, hidden_channels=in_channels, **kwargs)
