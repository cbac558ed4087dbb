"""The validation that a checkpoint was written just before, done when a run resumes from it."""

from typing import Any

from mmagic.registry import HOOKS
from mmengine.hooks import Hook

from .training_iteration import training_iteration

VALIDATED_AT = 'validated_at'


@HOOKS.register_module()
class RevalidationHook(Hook):
    """Validate before going on, where the checkpoint does not know its own validation.

    mmengine saves the checkpoint of an iteration first and validates then, so that a run resumed
    from it has lost that validation: what it counts towards early stopping, and what trends are
    read from. Here it is done again. A checkpoint that was saved once more, because its snapshot
    was the best, knows its validation, and nothing is repeated. Without validation it does nothing.
    """

    # After all that is prepared before training.
    priority = 'LOWEST'

    def before_train_epoch(self, runner: Any) -> None:
        """Validate if the checkpoint lacks it.

        Args:
            runner (Runner): The runner.
        """
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

    def before_val(self, runner: Any) -> None:
        """Note which iteration is validated, for the checkpoints to come.

        Args:
            runner (Runner): The runner.
        """
        iteration = training_iteration(runner)
        if iteration is not None:
            runner.message_hub.update_info(VALIDATED_AT, iteration)
