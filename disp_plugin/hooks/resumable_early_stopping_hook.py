"""Early stopping that a resumed run goes on with."""

from typing import Any

from mmagic.registry import HOOKS
from mmengine.hooks import EarlyStoppingHook

EARLY_STOPPING = 'early_stopping'


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """mmengine's ``EarlyStoppingHook``, whose count and best value are in every checkpoint.

    mmengine 0.10.7 keeps them in the hook (hooks/early_stopping_hook.py:67), so that a resumed run
    counts from zero and takes its first value for the best. With :class:`RevalidationHook` a run
    stops where it would have without the interruption.

    Args:
        *args: As in mmengine.
        **kwargs: ``monitor``, ``rule``, ``patience``, ... as in mmengine.
    """

    # Before CheckpointHook, so that a best snapshot's checkpoint has the count.
    priority = 'LOW'

    def before_train(self, runner: Any) -> None:
        """Take up what the checkpoint has.

        Args:
            runner (Runner): The runner.
        """
        state = runner.message_hub.runtime_info.get(self._key)
        if state is not None:
            self.wait_count, self.best_score = state

    def after_val_epoch(self, runner: Any, metrics: dict) -> None:
        """Decide whether to stop.

        Args:
            runner (Runner): The runner.
            metrics (dict): Values by name; one that is None, because it could not be computed,
                is no record.
        """
        if metrics.get(self.monitor, 0.0) is None:
            return
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info(self._key, [self.wait_count, float(self.best_score)])

    @property
    def _key(self) -> str:
        return f'{EARLY_STOPPING}_{self.monitor}'
