"""Distributed training without a GPU: the wrapper of the model.

Symptom: on the CPU the runner dies with "DistributedDataParallel device_ids and output_device
arguments only work with single-device/multiple-device GPU modules or CPU modules".
Cause: mmengine/runner/runner.py:900 and :911 pass ``device_ids=[LOCAL_RANK]`` whatever the device
is.
Upstream: https://github.com/open-mmlab/mmengine (0.10.7).
Delete when: mmengine passes ``device_ids`` for GPU modules only.
"""

from collections.abc import Callable
from typing import Any

from disp_plugin.upstream.repair import Repair, host_module

MODULE = 'mmengine.model.wrappers.distributed'


def is_needed() -> bool:
    """Tell whether there is no CUDA device, so that modules are wrapped on the CPU."""
    import torch

    return not torch.cuda.is_available()


def apply() -> None:
    """Drop the devices where all parameters of the wrapped module are on the CPU."""
    wrapper: Any = host_module(MODULE).MMDistributedDataParallel
    init: Callable[..., None] = wrapper.__init__

    def __init__(self: Any, module: Any, *args: Any, **kwargs: Any) -> None:
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            kwargs['device_ids'] = kwargs['output_device'] = None
        init(self, module, *args, **kwargs)

    wrapper.__init__ = __init__


REPAIR = Repair(
    name='cpu-ddp',
    module=MODULE,
    summary="distributed training on the CPU dies: 'device_ids ... only work with ... GPU modules'",
    until='mmengine passes device_ids for GPU modules only',
    is_needed=is_needed,
    apply=apply,
)
