"""mmagic's moving average of weights, in a few calls a step."""

from typing import Any

import torch
from mmagic.models.base_models import ExponentialMovingAverage
from mmagic.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ForeachEMA(ExponentialMovingAverage):
    """Average weights as mmagic's class does, bit for bit, all of them at once.

    mmagic's makes a GPU run two kernels for each weight, and waits for it at each step to read the
    number of steps, which is known here. :class:`DISPGAN` takes this class where a config names
    mmagic's.
    """

    _num_updates: int | None = None

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._num_updates = None

    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the weights of a model; copy its buffers."""
        if self._num_updates is None:
            self._num_updates = int(self.steps)
        if self._num_updates == 0 or self._num_updates % self.interval == 0:
            self._move(
                model.state_dict() if self.update_buffers else dict(model.named_parameters())
            )
        if not self.update_buffers:
            _copy(list(self.module.buffers()), list(model.buffers()))
        self._num_updates += 1
        self.steps += 1

    def _move(self, source: dict[str, Tensor]) -> None:
        names = list(self.avg_parameters)
        if self._num_updates:
            names = [name for name in names if self.avg_parameters[name].is_floating_point()]
        average = [self.avg_parameters[name].data for name in names]
        current = [source[name].data for name in names]
        if not self._num_updates:
            _copy(average, current)
            return
        torch._foreach_mul_(average, 1 - self.momentum)
        torch._foreach_add_(average, current, alpha=self.momentum)


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    if targets:
        torch._foreach_copy_(targets, sources)
