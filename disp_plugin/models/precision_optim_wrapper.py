"""An optimizer's wrapper that trains in the precision that the machine is good at."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from mmagic.registry import OPTIM_WRAPPERS
from mmengine.device import get_device
from mmengine.logging import MessageHub, print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from disp_plugin.precision import choose_precision, find_bfloat16

from .float32 import without_autocast


@OPTIM_WRAPPERS.register_module()
class PrecisionOptimWrapper(AmpOptimWrapper):
    """Train in float32, bfloat16 or float16, on a GPU or a CPU.

    In float32 it is a plain ``OptimWrapper`` bit for bit, with the same checkpoints. In the others
    the networks run under autocast, and gradients, the optimizer and what :mod:`.float32` and the
    patches of ``upstream/`` hold there stay in float32; float16 has a loss scaler. The reason of
    the choice is logged once a run.

    Args:
        optimizer (Optimizer): The optimizer, or in a config its dict.
        accumulative_counts (int): As in mmengine. Defaults to 1.
        clip_grad (dict, optional): As in mmengine. Defaults to None.
        precision (str): 'auto', 'float32', 'bfloat16' or 'float16', see
            :func:`~disp_plugin.precision.choose_precision`. Defaults to 'auto'.
        loss_scale (float | str | dict): Of float16, as in mmengine's ``AmpOptimWrapper``: a fixed
            scale, 'dynamic', or arguments of ``GradScaler``. Defaults to 'dynamic'.

    Raises:
        ValueError: There is no such precision, or float16 is asked for on a CPU.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
        precision: str = 'auto',
        loss_scale: float | str | dict = 'dynamic',
    ) -> None:
        # AmpOptimWrapper's own constructor refuses a CPU, and scales in any type
        OptimWrapper.__init__(self, optimizer, accumulative_counts, clip_grad)
        if clip_grad is not None:
            self._clip: Callable[..., Tensor | None] = self.clip_func  # type: ignore[has-type]
            self.clip_func = self._clip_and_log
        self.device_type = torch.device(get_device()).type
        self.cast_dtype, self.reason = choose_precision(precision, self.device_type)
        options: dict[str, Any] = {}
        self._scale_update_param = None
        if isinstance(loss_scale, dict):
            options = loss_scale
        elif loss_scale != 'dynamic':
            self._scale_update_param = options['init_scale'] = float(loss_scale)
        is_scaled = self.cast_dtype == torch.float16
        self.loss_scaler = torch.amp.GradScaler(self.device_type, enabled=is_scaled, **options)

    @property
    def precision(self) -> str:
        """str: Name of the type in which the networks compute."""
        return str(self.cast_dtype).removeprefix('torch.')

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run a step's passes under autocast, without needless synchronization of gradients."""
        self._say_why()
        with OptimWrapper.optim_context(self, model), self._autocast():
            yield

    def _autocast(self) -> AbstractContextManager:
        if self.cast_dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device_type, self.cast_dtype)

    def _clip_and_log(self, *args: Any, **kwargs: Any) -> None:
        """Clip gradients, and log their norm as a tensor; mmengine would wait for its value."""
        norm = self._clip(*args, **kwargs)
        if norm is not None:
            self.message_hub.update_scalar(f'train/{self.grad_name}', norm)

    def _say_why(self) -> None:
        """Log the reason, once for all wrappers of a run."""
        hub = MessageHub.get_current_instance()
        if hub.get_info('precision') == self.reason:
            return
        hub.update_info('precision', self.reason, resumed=False)
        is_slow = self.cast_dtype == torch.bfloat16 and find_bfloat16(self.device_type) is None
        level = logging.WARNING if is_slow else logging.INFO
        print_log(f'networks train in {self.reason}', 'current', level)

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Compute gradients outside of autocast, which would round those of float32 layers."""
        with without_autocast(self.device_type):
            super().backward(loss, **kwargs)

    def state_dict(self) -> dict:
        """Return the optimizer's state; but for float32 the precision, and the loss scale too."""
        state = OptimWrapper.state_dict(self)
        if self.precision != 'float32':
            state['precision'] = self.precision
        if self.loss_scaler.is_enabled():
            state['loss_scaler'] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the state of any precision, or of mmengine's wrappers; warn where it changes."""
        state = dict(state_dict)
        scale = state.pop('loss_scaler', None)
        before = state.pop('precision', 'float16' if scale else 'float32')
        if before != self.precision:
            print_log(
                f'the checkpoint was trained in {before}, and training goes on in {self.reason}: '
                'it will not repeat an uninterrupted run bit for bit',
                'current',
                logging.WARNING,
            )
        if scale and self.loss_scaler.is_enabled():
            self.loss_scaler.load_state_dict(scale)
        OptimWrapper.load_state_dict(self, state)
