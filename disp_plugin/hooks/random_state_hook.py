"""The random generators' states: shielded from hooks and validation, saved, and restored."""

import random
from typing import TypedDict

import numpy as np
import torch
from mmagic.registry import HOOKS
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner, set_random_seed
from torch import Tensor

from .validation_hooks import training_iteration

RANDOM_STATE = 'random_state'


class RandomState(TypedDict):
    """The states of all generators that a step draws from; ``cuda`` is None without a device.

    Python's and NumPy's consist of numbers: ``torch.load`` needs to trust nothing.
    """

    python: tuple
    numpy: tuple
    torch: Tensor
    cuda: Tensor | None


def get_random_state() -> RandomState:
    """Get the present states."""
    name, keys, *others = np.random.get_state()
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return RandomState(
        python=random.getstate(),
        numpy=(name, keys.tolist(), *others),  # type: ignore[attr-defined]
        torch=torch.get_rng_state(),
        cuda=cuda,
    )


def set_random_state(state: RandomState) -> None:
    """Set the states, from tensors on any device; CUDA's is ignored where there is no device."""
    random.setstate(state['python'])
    np.random.set_state(state['numpy'])
    torch.set_rng_state(state['torch'].cpu())
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Make a resumed run draw the random numbers that an uninterrupted one would.

    The states of Python's, NumPy's, torch's and the current CUDA device's generators right after a
    training step are those that the next step sees: whatever other hooks, validation and tests draw
    is undone. They are saved in each checkpoint, for every process, and restored before the first
    step of a resumed run.

    With this hook, :class:`ResumableTrainLoop`, :class:`ResumableSampler` and a data set that takes
    positions a resumed run on a CPU is bit-identical to an uninterrupted one.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._kept: RandomState | None = None
        self._kept_of_all: list[RandomState] | None = None
        self._loaded: dict | None = None
        self._restored: RandomState | None = None
        self._is_first_iter = True

    def before_run(self, runner: Runner) -> None:
        """Register the counterpart that acts after all other hooks."""
        if not any(isinstance(hook, _RestoreStateHook) for hook in runner.hooks):
            runner.register_hook(_RestoreStateHook(self))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the states from a checkpoint; only a resumed run will use them."""
        self._loaded = checkpoint.get(RANDOM_STATE)

    def before_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Restore the states before the first step of a resumed run."""
        if self._is_first_iter and runner.iter:
            self._restore(runner)
        self._is_first_iter = False

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Keep the states that the step left, before any other hook acts."""
        self._keep(for_all=any(saves_now(hook, runner) for hook in runner.hooks))

    def before_val(self, runner: Runner) -> None:
        """Keep the states that training left."""
        if self._is_first_iter and training_iteration(runner):
            self._restore(runner)  # a resumed run may begin with the validation it missed
        # The best checkpoint is saved during validation, by rank 0 alone.
        self._keep(for_all=True)

    def before_test(self, runner: Runner) -> None:
        """Keep the states from before the test."""
        self._keep(for_all=False)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the states into the checkpoint."""
        states = self._kept_of_all or [self._kept or get_random_state()]
        checkpoint[RANDOM_STATE] = {'world_size': get_world_size(), 'ranks': states}

    def restore_kept(self) -> None:
        """Set the states that were kept; without any, do nothing."""
        if self._kept is not None:
            set_random_state(self._kept)
        self._kept = self._kept_of_all = None

    def _keep(self, for_all: bool) -> None:
        self._kept = get_random_state()
        if for_all and get_world_size() > 1:
            self._kept_of_all = all_gather_object(self._kept)

    def _restore(self, runner: Runner) -> None:
        saved, self._loaded = self._loaded, None
        if self._restored is not None:  # what came since, as the data loader's start, drew too
            set_random_state(self._restored)
        elif saved is None:
            runner.logger.warning(
                'the checkpoint holds no state of the random generators (RandomStateHook was not '
                'used): this run goes on, but not exactly as it would have without the stop'
            )
        elif saved['world_size'] != get_world_size() or len(saved['ranks']) != get_world_size():
            runner.logger.warning(
                f'the checkpoint was written by {saved["world_size"]} processes, with the states '
                f'of the random generators of {len(saved["ranks"])}, and now there are '
                f'{get_world_size()}: the generators are seeded anew'
            )
            # runner.seed holds the rank already, where the ranks are to differ. The iteration is
            # taken in so that the noise of the run's first part is not drawn a second time.
            words = np.random.SeedSequence((int(runner.seed), runner.iter)).generate_state(1)
            set_random_seed(int(words[0]))
        else:
            set_random_state(saved['ranks'][get_rank()])
        self._restored = get_random_state()


class _RestoreStateHook(Hook):
    """Undo what hooks, validation and tests drew; the last hook of all."""

    priority = 'LOWEST'

    def __init__(self, owner: RandomStateHook) -> None:
        self._owner = owner

    def after_train_iter(self, *args: object, **kwargs: object) -> None:
        self._owner.restore_kept()

    after_val = after_test = after_train_iter


def saves_now(hook: Hook, runner: Runner) -> bool:
    """Tell whether a hook will save a checkpoint after this training iteration."""
    if not isinstance(hook, CheckpointHook) or hook.by_epoch:
        return False
    return hook.every_n_train_iters(runner, hook.interval, hook.save_begin) or (
        hook.save_last and hook.is_last_train_iter(runner)
    )
