"""A training loop that enters the data where it was left, instead of reading up to there again."""

from collections.abc import Iterator
from typing import Any

from mmagic.registry import LOOPS
from mmengine.dist import get_world_size
from mmengine.runner import BaseLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from disp_plugin.datasets import ResumableSampler, takes_positions

NUM_DRAWS = 'num_train_draws'
DRAW_SEED = 'train_draw_seed'


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop``, whose resume costs nothing and is exact.

    On resume mmengine reads and throws away every batch of the past. Here the sampler enters its
    stream at the right draw. How many draws were made, and with which seed, is in the checkpoint
    (in mmengine's message hub), so that it holds with another batch size or number of processes.

    The data loader needs ``sampler=dict(type='ResumableSampler')``; with another sampler this loop
    warns on resume and reads the past as mmengine does. For transforms that flip or crop at random
    a data set other than :class:`ImageFolderDataset` must be wrapped in :class:`SeededDraws`.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The training data loader, or its config.
        max_iters (int): As in mmengine.
        **kwargs: ``val_begin``, ``val_interval``, ``dynamic_intervals``, as in mmengine.

    Raises:
        ValueError: A data set that takes positions has a sampler that knows nothing of passes.
    """

    def __init__(
        self, runner: Any, dataloader: DataLoader | dict, max_iters: int, **kwargs: Any
    ) -> None:
        BaseLoop.__init__(self, runner, dataloader)
        # mmengine starts the loader here, so that its workers read ahead before a resume is known.
        loader: Any = self.dataloader  # type: ignore[has-type]
        super().__init__(runner, _LateStart(loader), max_iters, **kwargs)
        self.dataloader = loader
        self._sampler: Any = getattr(loader.batch_sampler, 'sampler', None)
        if takes_positions(loader.dataset) and not self._can_skip:
            raise ValueError(
                f"{type(loader.dataset).__name__} needs sampler=dict(type='ResumableSampler'), but "
                f'the training data loader has {type(self._sampler).__name__}, with which every '
                'pass over the data would be flipped alike'
            )

    @property
    def _can_skip(self) -> bool:
        return isinstance(self._sampler, ResumableSampler)

    @property
    def _draws_per_iter(self) -> int:
        return self.dataloader.batch_sampler.batch_size * get_world_size()

    def run(self) -> Any:
        """Train, from the point that was reached.

        Returns:
            nn.Module: The model.
        """
        if self._iter > 0:
            self._skip_past()
        if self._can_skip:
            self.runner.message_hub.update_info(DRAW_SEED, self._sampler.seed)
        try:
            return super().run()
        finally:
            self._stop_workers()

    def run_iter(self, data_batch: Any) -> None:
        """Train one batch, and count its draws before a hook can save a checkpoint.

        Args:
            data_batch (dict): The batch.
        """
        if self._can_skip:
            done = self._sampler.start + (self._iter + 1 - self._first_iter) * self._draws_per_iter
            self.runner.message_hub.update_info(NUM_DRAWS, done)
        super().run_iter(data_batch)

    _first_iter = 0

    def _stop_workers(self) -> None:
        """Let go of the loader's processes while their queues still work.

        The runner is part of a cycle. Left to the garbage collector, the queues close before the
        workers are told to stop, and PyTorch then waits five seconds for each of them.
        """
        self.dataloader_iterator: Any = None
        self.dataloader._iterator = None

    def _skip_past(self) -> None:
        logger = self.runner.logger
        if not self._can_skip:
            logger.warning(
                f'{type(self._sampler).__name__} cannot skip: the {self._iter} batches of the past '
                "are read again; sampler=dict(type='ResumableSampler') avoids it"
            )
            return
        if not takes_positions(self.dataloader.dataset):
            logger.warning(
                'the training data set is not wrapped in SeededDraws: its random transforms after '
                'this resume differ from those of an uninterrupted run'
            )
        known = self.runner.message_hub.runtime_info
        expected = self._iter * self._draws_per_iter
        start = int(known.get(NUM_DRAWS, expected))
        self._sampler.seed = int(known.get(DRAW_SEED, self._sampler.seed))
        self._sampler.start = start
        self._first_iter = self._iter
        batches: Any = self.dataloader_iterator  # type: ignore[has-type]
        self.dataloader_iterator = _AlreadyDone(batches, self._iter)
        logger.info(f'the data is entered after {start} draws; no batch of the past is read again')
        if start != expected:
            logger.warning(
                f'{self._iter} iterations of the checkpoint drew {start} images, but with '
                f'{self._draws_per_iter} images an iteration they would have drawn {expected}: '
                'the batch size or the number of processes has changed. The images go on in '
                'order, but the iteration counts of both parts mean different amounts of data'
            )


class _LateStart:
    """A data loader that starts its workers when the first batch is asked for."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator:
        yield from self._loader


class _AlreadyDone:
    """Batches, of which the first ``num`` are done: nothing is read when they are asked for."""

    def __init__(self, batches: Iterator, num: int) -> None:
        self._batches = batches
        self._num = num

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        if self._num > 0:
            self._num -= 1
            return None
        return next(self._batches)
