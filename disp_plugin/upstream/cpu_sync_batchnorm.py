"""Synchronized BatchNorm on the CPU.

Symptom: BigGAN, SAGAN and SNGAN die in distributed training on the CPU with "SyncBatchNorm
expected input tensor to be on GPU".
Cause: their generators turn BatchNorm into ``SyncBatchNorm`` by default (``auto_sync_bn=True``,
mmagic/models/editors/sagan/sagan_modules.py:566, biggan/biggan_modules.py:266), which torch has
written for accelerators only.
Upstream: torch/nn/modules/batchnorm.py, ``SyncBatchNorm.forward`` (2.11).
Delete when: torch's ``SyncBatchNorm`` takes CPU tensors.

The statistics are those of the batch of all processes, computed in two passes, with gradients
through both; so two processes give the numbers of one process with the whole batch. Tensors on
any other device go torch's own way.
"""

from collections.abc import Callable
from typing import Any

from disp_plugin.upstream.repair import Repair


def is_needed() -> bool:
    """Tell whether there is no CUDA device, so that the layer would meet CPU tensors."""
    import torch

    return not torch.cuda.is_available()


def apply() -> None:
    """Give ``SyncBatchNorm`` a way for CPU tensors, and drop torch's check that there is none."""
    import torch

    forward: Callable[..., Any] = torch.nn.SyncBatchNorm.forward
    if getattr(forward, '_takes_cpu', False):
        return

    def forward_anywhere(self: Any, input: Any) -> Any:
        """Normalize by the statistics of all processes, on any device."""
        is_synced = self.training and torch.distributed.is_initialized()
        if input.device.type != 'cpu' or not is_synced:
            return forward(self, input)
        return _forward_on_cpu(self, input)

    forward_anywhere._takes_cpu = True  # type: ignore[attr-defined]
    torch.nn.SyncBatchNorm.forward = forward_anywhere  # type: ignore[method-assign]
    wrapper: Any = torch.nn.parallel.DistributedDataParallel
    wrapper._passing_sync_batchnorm_handle = lambda self, module: None


def _forward_on_cpu(layer: Any, input: Any) -> Any:
    """Normalize (N, C, ...) by the mean and variance over all processes; see the module."""
    import torch

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
    return output


def _sum_over_processes(layer: Any, value: Any) -> Any:
    import torch.distributed.nn

    group = layer.process_group or torch.distributed.group.WORLD
    return torch.distributed.nn.functional.all_reduce(value, group=group)


def _update_running_stats(layer: Any, mean: Any, var: Any) -> None:
    layer.num_batches_tracked.add_(1)
    factor = layer.momentum
    if factor is None:
        factor = 1.0 / layer.num_batches_tracked.item()
    layer.running_mean.lerp_(mean.to(layer.running_mean), factor)
    layer.running_var.lerp_(var.to(layer.running_var), factor)


REPAIR = Repair(
    name='cpu-sync-batchnorm',
    module='mmengine.model.utils',
    summary="distributed BigGAN and SNGAN die on the CPU: 'SyncBatchNorm expected ... on GPU'",
    until="torch's SyncBatchNorm takes CPU tensors",
    is_needed=is_needed,
    apply=apply,
)
