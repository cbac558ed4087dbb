"""Validation over a resume: validate again what a checkpoint lacks; stop early."""

from mmagic.registry import HOOKS
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.runner import Runner

__all__ = ['ResumableEarlyStoppingHook', 'RevalidationHook', 'training_iteration']

VALIDATED_AT = 'validated_at'
EARLY_STOPPING = 'early_stopping'


def training_iteration(runner: Runner) -> int | None:
    """Tell the iteration of a runner that trains; None for one that only validates or tests.

    The latter would build its training if it were asked for ``iter``.
    """
    is_training = runner._train_loop is not None and not isinstance(runner._train_loop, dict)
    return runner.iter if is_training else None


@HOOKS.register_module()
class RevalidationHook(Hook):
    """Repeat a checkpoint's validation on resume, where the checkpoint lacks it.

    mmengine saves the checkpoint of an iteration first and validates then. A run resumed from it
    would lose that validation, which early stopping and trends count. The checkpoint of a best
    snapshot is saved after its validation, and nothing is repeated.
    """

    # After all that is prepared before training.
    priority = 'LOWEST'

    def before_train_epoch(self, runner: Runner) -> None:
        """Validate if the checkpoint lacks it."""
        loop = runner.train_loop
        if runner.val_loop is None or runner.iter < max(1, loop.val_begin):
            return
        is_due = runner.iter % loop.val_interval == 0 or runner.iter == loop.max_iters
        if is_due and runner.message_hub.runtime_info.get(VALIDATED_AT) != runner.iter:
            runner.logger.info(
                f'the checkpoint was saved before its validation: iteration {runner.iter} is '
                'validated again'
            )
            runner.val_loop.run()

    def before_val(self, runner: Runner) -> None:
        """Note which iteration is validated, for the checkpoints to come."""
        iteration = training_iteration(runner)
        if iteration is not None:
            runner.message_hub.update_info(VALIDATED_AT, iteration)


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """Keep the count and best value of mmengine's ``EarlyStoppingHook`` in every checkpoint.

    mmengine 0.10.7 keeps them in the hook (hooks/early_stopping_hook.py:67): a resumed run counts
    from zero and takes its first value for the best. With :class:`RevalidationHook` a run stops
    where it would have without the interruption. The arguments are mmengine's.
    """

    # Before CheckpointHook, so that a best snapshot's checkpoint has the count.
    priority = 'LOW'

    def before_train(self, runner: Runner) -> None:
        """Take up what the checkpoint has."""
        state = runner.message_hub.runtime_info.get(self._key)
        if state is not None:
            self.wait_count, self.best_score = state

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float | None]) -> None:
        """Decide whether to stop; a value of None could not be computed and is no record."""
        if metrics.get(self.monitor, 0.0) is None:
            return
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info(self._key, [self.wait_count, float(self.best_score)])

    @property
    def _key(self) -> str:
        return f'{EARLY_STOPPING}_{self.monitor}'
