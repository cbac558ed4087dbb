"""Distributed training without a GPU: the process group.

Symptom: on a machine without CUDA every launcher dies, with gloo too, in
``torch.cuda.set_device``.
Cause: mmengine/dist/utils.py:130, :164 and :221 set a CUDA device whatever the backend is; the
default backend of mmagic's configs, nccl, is for CUDA only.
Upstream: https://github.com/open-mmlab/mmengine (0.10.7).
Delete when: mmengine sets a CUDA device only where there is one.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from disp_plugin.upstream.repair import Repair, host_module, rebind

MODULE = 'mmengine.dist.utils'


def is_needed() -> bool:
    """Tell whether this machine has no accelerator that mmengine knows."""
    return not has_accelerator()


def has_accelerator() -> bool:
    """Tell whether mmengine would train on something else than the CPU.

    Returns:
        bool: True with CUDA, MLU, NPU or MUSA.
    """
    import torch

    host: Any = host_module(MODULE)
    others = (host.is_mlu_available, host.is_npu_available, host.is_musa_available)
    return torch.cuda.is_available() or any(is_available() for is_available in others)


def apply() -> None:
    """Let ``init_dist`` make a gloo group and leave CUDA alone."""
    init: Callable[..., None] = host_module(MODULE).init_dist  # type: ignore[attr-defined]

    def init_dist(launcher: str, backend: str = 'nccl', **kwargs: Any) -> None:
        """Join the processes of a launcher; without an accelerator by gloo, on the CPU."""
        if has_accelerator():
            return init(launcher, backend=backend, **kwargs)
        if backend == 'nccl':
            logging.getLogger('mmengine').warning(
                "there is no CUDA device, so the processes talk by 'gloo' and not by 'nccl'"
            )
            backend = 'gloo'
        with _without_cuda_device():
            return init(launcher, backend=backend, **kwargs)

    rebind(init, init_dist)


@contextmanager
def _without_cuda_device() -> Iterator[None]:
    import torch

    set_device = torch.cuda.set_device
    torch.cuda.set_device = lambda device: None
    try:
        yield
    finally:
        torch.cuda.set_device = set_device


REPAIR = Repair(
    name='cpu-processes',
    module=MODULE,
    summary='distributed training on the CPU dies in torch.cuda.set_device',
    until='mmengine sets a CUDA device only where there is one',
    is_needed=is_needed,
    apply=apply,
)
