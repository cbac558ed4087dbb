"""What must stay in float32 while a network runs under autocast.

Upstream: torch/nn/utils/spectral_norm.py (2.11); https://github.com/open-mmlab/mmagic (1.2.0).
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import TYPE_CHECKING

from disp_plugin.upstream.patch import patch

if TYPE_CHECKING:
    from torch import Tensor, nn


@patch('spectral-norm', 'torch.nn.utils.spectral_norm')
def iterate_in_float32(host: ModuleType) -> None:
    """Let torch's spectral norm estimate in float32 under autocast.

    Symptom: on CUDA the same weights have another spectral norm under autocast, by 2^-9 of it in
    bfloat16, and its vectors, which checkpoints carry, are those of rounded weights.
    Cause: torch/nn/utils/spectral_norm.py:89-101 multiplies by ``torch.mv`` in the type of the
    region.
    Delete when: ``SpectralNorm.compute_weight`` leaves autocast.
    """
    compute: Callable[..., Tensor] = host.SpectralNorm.compute_weight

    @functools.wraps(compute)
    def compute_weight(self: object, module: 'nn.Module', do_power_iteration: bool) -> 'Tensor':
        with _without_autocast(module):
            return compute(self, module, do_power_iteration)

    host.SpectralNorm.compute_weight = compute_weight


@patch('ajbrock-spectral-norm', 'mmagic.models.editors.biggan.biggan_snmodule')
def iterate_biggan_in_float32(host: ModuleType) -> None:
    """Let BigGAN's spectral norm estimate in float32 under autocast.

    Symptom: as of torch's, on the CPU too.
    Cause: mmagic/models/editors/biggan/biggan_snmodule.py:62-71 multiplies by ``torch.matmul`` in
    the type of the region.
    Delete when: ``SpectralNorm.sn_weight`` leaves autocast.
    """
    compute: Callable[..., Tensor] = host.SpectralNorm.sn_weight

    @functools.wraps(compute)
    def sn_weight(self: 'nn.Module') -> 'Tensor':
        with _without_autocast(self):
            return compute(self)

    host.SpectralNorm.sn_weight = sn_weight


def _without_autocast(module: 'nn.Module') -> AbstractContextManager[None]:
    from disp_plugin.upstream.operators import without_autocast

    return without_autocast(next(module.parameters()).device.type)
