"""Stop training at what is not finite, before a snapshot of it takes the place of a good one."""

from typing import Any

import numpy as np
from mmagic.registry import HOOKS
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import find_latest_checkpoint

from disp_plugin.distributed import unwrap_model
from disp_plugin.weights import NonFiniteError, find_non_finite

from .random_state_hook import saves_now
from .validation_hooks import training_iteration

LEAST_SCALE = 2.0**-20
"""Loss scale of mixed precision that more than thirty skipped steps in a row lead to."""


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stop training at losses, gradients or weights that stay NaN or infinite.

    Losses are looked at when they are logged, weights and optimizers before each checkpoint and
    validation: a step costs nothing, and no checkpoint is written, nor an older one removed, once
    weights are not finite. Steps that mixed precision skips leave weights and losses finite, and
    are told by the loss scale only if they do not end. A checkpoint to load is checked, too.

    Args:
        patience (int): Values in a row of one loss that are not finite. Defaults to 10.
    """

    # Before samplers are fitted and statistics are estimated for a checkpoint.
    priority = 'VERY_HIGH'

    def __init__(self, patience: int = 10) -> None:
        self.patience = patience
        self._checked_at: int | None = None

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Refuse weights, and the optimizers of a resumed run, that are not finite.

        Raises:
            NonFiniteError: The message names the network and the entry.
        """
        fault = find_non_finite(checkpoint.get('state_dict', checkpoint))
        if fault is None and runner._resume:
            fault = find_non_finite({'optimizer': checkpoint.get('optimizer')})
        if fault is not None:
            file = runner._load_from or find_latest_checkpoint(runner.work_dir) or 'the checkpoint'
            raise NonFiniteError(
                f'{file} cannot be used: {fault}; give an earlier snapshot, or train anew'
            )

    def after_train_iter(self, runner: Any, *args: object, **kwargs: object) -> None:
        """Check losses where they are logged, and weights before a checkpoint is written."""
        loggers = (hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook))
        if self.every_n_train_iters(runner, next(loggers, 100)):
            self._check_losses(runner)
        if any(saves_now(hook, runner) for hook in runner.hooks):
            self._check_weights(runner, runner.iter + 1)

    def before_val(self, runner: Any) -> None:
        """Check weights before a validation of training."""
        iteration = training_iteration(runner)
        if iteration is not None:
            self._check_weights(runner, iteration)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Check the weights of a checkpoint that another hook writes."""
        if self._checked_at != runner.iter:
            self._check_weights(runner, runner.iter)

    def _check_losses(self, runner: Any) -> None:
        for name, history in runner.message_hub.log_scalars.items():
            last = np.asarray(history.data[0][-self.patience :], dtype=float)
            is_loss = name.startswith('train/') and 'loss' in name
            if is_loss and len(last) == self.patience and not np.isfinite(last).any():
                fault = (
                    f'{name.removeprefix("train/")} is not finite {self.patience} times in a row'
                )
                weights = find_non_finite(unwrap_model(runner.model).state_dict())
                self._stop(runner, runner.iter + 1, f'{fault} ({weights or "weights are finite"})')
        wrappers = runner.optim_wrapper
        for name, wrapper in wrappers.items() if hasattr(wrappers, 'items') else [('', wrappers)]:
            scaler = getattr(wrapper, 'loss_scaler', None)
            if scaler is not None and scaler.get_scale() < LEAST_SCALE:
                fault = f'gradients of {name or "the model"} stay non-finite at any loss scale'
                self._stop(runner, runner.iter + 1, fault)

    def _check_weights(self, runner: Any, iteration: int) -> None:
        fault = find_non_finite(
            {
                **unwrap_model(runner.model).state_dict(),
                'optimizer': runner.optim_wrapper.state_dict(),
            }
        )
        if fault is not None:
            self._stop(runner, iteration, fault)
        self._checked_at = runner.iter

    def _stop(self, runner: Any, iteration: int, fault: str) -> None:
        file = find_latest_checkpoint(runner.work_dir)
        kept, start = 'no snapshot was saved yet', ''
        if file is not None:
            kept, start = f'the last finite snapshot is {file}', f' load_from={file}'
        raise NonFiniteError(
            f'training stopped at iteration {iteration}: {fault}; {kept}. Lower the learning rate '
            f'(--cfg-options{start} optim_wrapper.generator.optimizer.lr=...), or give '
            '--precision float32'
        )
