"""mmcv's StyleGAN operators in PyTorch alone, on any device.

They have the names, arguments and meaning of mmcv's. As with its compiled code the output has the
type of the input, whatever autocast says, and a filter gets no gradient. They are made of torch's
functions: derivatives of any order exist, and ``torch.compile`` takes them. Importing this package
imports torch, which a file of patches must not do.
"""

from disp_plugin.upstream.operators.activations import (
    bias_act,
    filtered_lrelu,
    fused_bias_leakyrelu,
)
from disp_plugin.upstream.operators.resampling import upfirdn2d

__all__ = ['bias_act', 'filtered_lrelu', 'fused_bias_leakyrelu', 'upfirdn2d']
