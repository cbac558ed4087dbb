"""mmcv's StyleGAN operators in PyTorch alone, on any device.

They have the names, arguments and meaning of mmcv's. As with its compiled code the output has the
type of the input, whatever autocast says, and a filter is not differentiated. Derivatives of any
order come from torch's own functions, of which everything is made, and ``torch.compile`` takes
them. Importing this package imports torch, which a file of patches must not do.
"""

from disp_plugin.upstream.operators.activations import (
    bias_act,
    filtered_lrelu,
    fused_bias_leakyrelu,
)
from disp_plugin.upstream.operators.resampling import upfirdn2d

__all__ = ['bias_act', 'filtered_lrelu', 'fused_bias_leakyrelu', 'upfirdn2d']
