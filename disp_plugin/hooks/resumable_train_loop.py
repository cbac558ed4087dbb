"""A training loop that stops on a signal, and goes on in the data where it stopped."""

import platform
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import LOOPS
from mmengine.dist import (
    all_gather_object,
    all_reduce,
    get_backend,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import CheckpointHook
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from disp_plugin.datasets import (
    ImageFolderDataset,
    ResumableSampler,
    SeededDraws,
    takes_positions,
)
from disp_plugin.datasets.image_views import unwrap_dataset
from disp_plugin.distributed import leave_group
from disp_plugin.signals import STOP, Stopped, spare_processes

NUM_DRAWS = 'num_train_draws'
DRAW_SEED = 'train_draw_seed'

ASK_INTERVAL = 10
"""Iterations after which processes on GPUs ask each other for signals, and wait for the GPUs."""


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """Stop mmengine's ``IterBasedTrainLoop`` on a signal, and resume it exactly, at no cost.

    On resume mmengine reads and throws away every batch of the past. Here the sampler starts at the
    right draw. The number of draws and their seed are in the checkpoint (in mmengine's message
    hub), so the batch size and the number of processes may change.

    The data loader needs ``sampler=dict(type='ResumableSampler')``; with another sampler this loop
    warns on resume and reads the past as mmengine does. Random flips and crops are repeated by data
    sets that take positions: :class:`ImageFolderDataset`, or any other in :class:`SeededDraws`.

    After SIGTERM, SIGUSR1 or Ctrl-C all processes finish their step and train one more, which
    ``CheckpointHook`` saves (on several GPUs, which wait where processes ask each other, within
    ``ASK_INTERVAL``); then :class:`Stopped` ends the run. After a step that is saved already
    the run ends at once, even during its validation, and so it does by a second Ctrl-C.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The training data loader, or its config.
        max_iters (int): As in mmengine.
        **kwargs: ``val_begin``, ``val_interval``, ``dynamic_intervals``, as in mmengine.

    Raises:
        ValueError: The data set draws by a seed, but its sampler does not count passes.
    """

    def __init__(
        self, runner: Runner, dataloader: DataLoader | dict, max_iters: int, **kwargs: Any
    ) -> None:
        BaseLoop.__init__(self, runner, dataloader)
        # mmengine starts the loader here, whose workers would read ahead before a resume is known.
        loader: DataLoader = self.dataloader  # type: ignore[has-type]
        self._batches = _Batches(loader)
        super().__init__(runner, self._batches, max_iters, **kwargs)
        self.dataloader = loader
        self._first_iter = 0
        batches: Any = loader.batch_sampler
        self._draws_per_iter: int = batches.batch_size * get_world_size()
        self._sampler_name = type(batches.sampler).__name__
        can_skip = isinstance(batches.sampler, ResumableSampler)
        self._sampler: ResumableSampler | None = batches.sampler if can_skip else None
        dataset = loader.dataset
        has_seed = takes_positions(dataset) and dataset.seed is not None
        if (has_seed or isinstance(dataset, SeededDraws)) and not can_skip:
            raise ValueError(
                f'a {type(dataset).__name__} with a seed needs '
                f"sampler=dict(type='ResumableSampler'), but the training data loader has "
                f'{self._sampler_name}, with which every pass over the data would be flipped alike'
            )

    def run(self) -> nn.Module:
        """Train from the iteration that was reached; return the model."""
        if self._iter > 0:
            self._skip_past()
        if self._sampler is not None:
            self.runner.message_hub.update_info(DRAW_SEED, self._sampler.seed)
        self._keep_images()
        try:
            with STOP.caught():
                return super().run()
        finally:
            self._stop_workers()

    def run_iter(self, data_batch: dict) -> None:
        """Train one batch, and count its draws before a hook can save a checkpoint.

        Raises:
            Stopped: A signal came; the iteration is saved.
        """
        if self._sampler is not None:
            done = self._sampler.start + (self._iter + 1 - self._first_iter) * self._draws_per_iter
            self.runner.message_hub.update_info(NUM_DRAWS, done)
        saving = next((h for h in self.runner.hooks if isinstance(h, CheckpointHook)), None)
        if saving is None or saving.by_epoch:  # nothing could save what is deferred
            super().run_iter(data_batch)
            return
        STOP.is_deferred = True
        number = _agree(STOP.received) if self._is_time_to_ask() else 0
        if number:  # all that prepares a checkpoint prepares one of this iteration
            saving.interval, saving.save_begin = 1, 0
        super().run_iter(data_batch)
        is_saved = Path(saving.last_ckpt or '').name == saving.filename_tmpl.format(self._iter)
        if is_saved and not number:  # by all, since the main process has written it by then
            number = _agree(STOP.received)
        if number:
            self._stop(number, saving.last_ckpt)
        elif is_saved:
            STOP.end_deferral()

    def _is_time_to_ask(self) -> bool:
        return get_backend() in (None, 'gloo') or self._iter % ASK_INTERVAL == 0

    def _keep_images(self) -> None:
        dataset = unwrap_dataset(self.dataloader.dataset)
        if isinstance(dataset, ImageFolderDataset):
            if dataset.num_neighbors is not None:
                dataset.find_neighbors()  # once, before workers are forked
            machines = all_gather_object(platform.node())
            told = dataset.keep_images(machines.count(platform.node()))
            self.runner.logger.info(f'{dataset.data_root}: {told}')

    def _stop(self, number: int, checkpoint: str | None) -> None:
        self.runner.logger.warning(
            f'{signal.Signals(number).name} came: the run stops after iteration {self._iter}; '
            f'the newest checkpoint is {checkpoint}'
        )
        self.runner.call_hook('after_run')
        is_told = not is_main_process()
        leave_group()
        raise Stopped(number, is_told)

    def _stop_workers(self) -> None:
        """Stop the loader's processes while their queues still work.

        The garbage collector would close the queues first, and PyTorch would then wait five seconds
        for each worker.
        """
        self.dataloader_iterator = None
        self.dataloader._iterator = None

    def _skip_past(self) -> None:
        logger = self.runner.logger
        if self._sampler is None:
            logger.warning(
                f'{self._sampler_name} cannot skip: the {self._iter} batches of the past '
                "are read again; sampler=dict(type='ResumableSampler') avoids it"
            )
            return
        if not takes_positions(self.dataloader.dataset):
            logger.warning(
                'the training data set does not take positions: random transforms after this '
                'resume differ from those of an uninterrupted run; wrap it in SeededDraws'
            )
        known = self.runner.message_hub.runtime_info
        expected = self._iter * self._draws_per_iter
        start = int(known.get(NUM_DRAWS, expected))
        self._sampler.seed = int(known.get(DRAW_SEED, self._sampler.seed))
        self._sampler.start = start
        self._first_iter = self._iter
        self._batches.num_past = self._iter
        logger.info(f'the data is entered after {start} draws; no batch of the past is read again')
        if start != expected:
            logger.warning(
                f'{self._iter} iterations of the checkpoint drew {start} images, but with '
                f'{self._draws_per_iter} images an iteration they would have drawn {expected}: '
                'the batch size or the number of processes has changed. The images go on in '
                'order, but the iteration counts of both parts mean different amounts of data'
            )


def _agree(received: int) -> int:
    """Give all processes the signal that any of them has received."""
    number = torch.tensor(received)
    if get_world_size() > 1:
        all_reduce(number, 'max')
    return int(number)


class _Batches:
    """A data loader whose workers start when the first batch is asked for.

    ``num_past`` batches come first that are done, as None and without being read.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self.num_past = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[dict | None]:
        for _ in range(self.num_past):
            yield None
        self.num_past = 0
        with spare_processes():
            batches = iter(self._loader)
        yield from batches
