"""Distributed training without a GPU: the process group, the wrapper and synchronized BatchNorm.

Upstream: https://github.com/open-mmlab/mmengine (0.10.7); torch/nn/modules/batchnorm.py (2.11).
"""

import logging
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

from disp_plugin.upstream.patch import patch, rebind

if TYPE_CHECKING:
    from torch import Tensor, nn


def is_needed(host: ModuleType) -> bool:
    """Tell whether there is no CUDA device."""
    import torch

    return not torch.cuda.is_available()


def has_no_accelerator(host: ModuleType) -> bool:
    """Tell whether mmengine would train on the CPU: no CUDA, MLU, NPU or MUSA."""
    others = (host.is_mlu_available, host.is_npu_available, host.is_musa_available)
    return is_needed(host) and not any(is_available() for is_available in others)


@patch('cpu-processes', 'mmengine.dist.utils', has_no_accelerator)
def join_by_gloo(host: ModuleType) -> None:
    """Let ``init_dist`` make a gloo group and leave CUDA alone.

    Symptom: on a machine without CUDA every launcher dies, with gloo too, in
    ``torch.cuda.set_device``.
    Cause: mmengine/dist/utils.py:130, :164 and :221 set a CUDA device whatever the backend is; the
    default backend of mmagic's configs, nccl, is for CUDA only.
    Delete when: mmengine sets a CUDA device only where there is one.
    """
    import torch

    init: Callable[..., None] = host.init_dist

    def init_dist(launcher: str, backend: str = 'nccl', **kwargs: object) -> None:
        """Join the processes of a launcher by gloo, on the CPU."""
        if backend == 'nccl':
            logging.getLogger('mmengine').warning(
                "there is no CUDA device: the processes communicate by 'gloo' instead of 'nccl'"
            )
            backend = 'gloo'
        set_device, torch.cuda.set_device = torch.cuda.set_device, lambda device: None
        try:
            init(launcher, backend=backend, **kwargs)
        finally:
            torch.cuda.set_device = set_device

    rebind(init, init_dist)


@patch('cpu-ddp', 'mmengine.model.wrappers.distributed', is_needed)
def drop_devices(host: ModuleType) -> None:
    """Wrap without devices where all parameters of the module are on the CPU.

    Symptom: the runner dies with "DistributedDataParallel device_ids and output_device arguments
    only work with single-device/multiple-device GPU modules or CPU modules".
    Cause: mmengine/runner/runner.py:900 and :911 pass ``device_ids=[LOCAL_RANK]`` whatever the
    device is.
    Delete when: mmengine passes ``device_ids`` for GPU modules only.
    """
    wrapper = host.MMDistributedDataParallel
    init: Callable[..., None] = wrapper.__init__

    def __init__(self: 'nn.Module', module: 'nn.Module', *args: object, **kwargs: object) -> None:
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            kwargs['device_ids'] = kwargs['output_device'] = None
        init(self, module, *args, **kwargs)

    wrapper.__init__ = __init__


@patch('cpu-sync-batchnorm', 'mmengine.model.utils', is_needed)
def synchronize_on_cpu(host: ModuleType) -> None:
    """Let ``SyncBatchNorm`` take CPU tensors, and drop torch's check that it does not.

    Symptom: BigGAN, SAGAN and SNGAN die with "SyncBatchNorm expected input tensor to be on GPU".
    Cause: their generators turn BatchNorm into ``SyncBatchNorm`` by default (``auto_sync_bn=True``,
    mmagic/models/editors/sagan/sagan_modules.py:566, biggan/biggan_modules.py:266), which torch
    wrote for accelerators only.
    Delete when: torch's ``SyncBatchNorm`` takes CPU tensors.

    It takes the statistics of all processes' batches together, in two passes with gradients
    through both: two processes give the numbers of one process with the whole batch. Tensors on
    any other device go torch's own way.
    """
    import torch

    forward = torch.nn.SyncBatchNorm.forward

    def forward_anywhere(self: torch.nn.SyncBatchNorm, input: torch.Tensor) -> torch.Tensor:
        """Normalize by the statistics of all processes, on any device."""
        is_synced = self.training and torch.distributed.is_initialized()
        if input.device.type != 'cpu' or not is_synced:
            return forward(self, input)
        return _normalize(self, input)

    torch.nn.SyncBatchNorm.forward = forward_anywhere  # type: ignore[method-assign]
    wrapper = torch.nn.parallel.DistributedDataParallel
    wrapper._passing_sync_batchnorm_handle = lambda self, module: None  # type: ignore[method-assign]


def _normalize(layer: 'nn.SyncBatchNorm', input: 'Tensor') -> 'Tensor':
    """Normalize (N, C, ...) by the mean and variance over all processes, in float32 at least."""
    import torch

    kind = input.dtype
    input = input.to(torch.promote_types(kind, torch.float32))
    axes = [0, *range(2, input.ndim)]
    count = _sum_over_processes(layer, torch.tensor(float(input.numel() // input.shape[1])))
    if count <= 1:
        raise ValueError(
            f'BatchNorm needs more than one value per channel, got {list(input.shape)}'
        )
    shape = [1, -1] + [1] * (input.ndim - 2)
    mean = _sum_over_processes(layer, input.sum(axes)) / count
    centered = input - mean.reshape(shape)
    var = _sum_over_processes(layer, centered.square().sum(axes)) / count
    if layer.track_running_stats:
        _update_running_stats(layer, mean.detach(), (var * count / (count - 1)).detach())
    output = centered * torch.rsqrt(var + layer.eps).reshape(shape)
    if layer.affine:
        output = output * layer.weight.reshape(shape) + layer.bias.reshape(shape)
    return output.to(kind)


def _sum_over_processes(layer: 'nn.SyncBatchNorm', value: 'Tensor') -> 'Tensor':
    import torch.distributed.nn

    group = layer.process_group or torch.distributed.group.WORLD
    return torch.distributed.nn.functional.all_reduce(value, group=group)


def _update_running_stats(layer: 'nn.SyncBatchNorm', mean: 'Tensor', var: 'Tensor') -> None:
    assert layer.num_batches_tracked is not None
    assert layer.running_mean is not None and layer.running_var is not None
    layer.num_batches_tracked.add_(1)
    factor = layer.momentum
    if factor is None:
        factor = 1.0 / layer.num_batches_tracked.item()
    layer.running_mean.lerp_(mean.to(layer.running_mean), factor)
    layer.running_var.lerp_(var.to(layer.running_var), factor)
