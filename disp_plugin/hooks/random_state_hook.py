"""The random generators' states: kept apart from what only looks on, saved, and restored."""

import random
from typing import Any

import numpy as np
import torch
from mmagic.registry import HOOKS
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook

RANDOM_STATE = 'random_state'


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Make a resumed run draw the random numbers that an uninterrupted one would.

    The states of Python's, NumPy's, torch's and the current CUDA device's generators right after a
    training step are those that the next step sees: whatever other hooks, validation and tests draw
    is undone. They are saved in each checkpoint as plain numbers and tensors, for every process,
    and restored before the first step of a resumed run.

    With this hook, :class:`ResumableTrainLoop`, :class:`ResumableSampler` and
    :class:`SeededDraws` a resumed run on a CPU is bit-identical to an uninterrupted one.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._kept: dict | None = None
        self._kept_of_all: list[dict] | None = None
        self._loaded: dict | None = None
        self._is_first_iter = True

    def before_run(self, runner: Any) -> None:
        """Register the counterpart that acts after all other hooks.

        Args:
            runner (Runner): The runner.
        """
        if not any(isinstance(hook, _RestoreStateHook) for hook in runner.hooks):
            runner.register_hook(_RestoreStateHook(self))

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Take the states from a checkpoint; whether it is resumed from shows later.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint.
        """
        self._loaded = checkpoint.get(RANDOM_STATE)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Restore the states before the first step of a resumed run.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Number of iterations done.
            data_batch (dict, optional): Not used.
        """
        if self._is_first_iter and runner.iter > 0:
            self._restore(runner)
        self._is_first_iter = False

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keep the states that the step left, before any other hook acts.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Number of iterations done before this one.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Not used.
        """
        self._keep(for_all=any(_saves_now(hook, runner) for hook in runner.hooks))

    def before_val(self, runner: Any) -> None:
        """Keep the states that training left.

        Args:
            runner (Runner): The runner.
        """
        # The best checkpoint is saved during validation, by rank 0 alone.
        self._keep(for_all=True)

    def before_test(self, runner: Any) -> None:
        """Keep the states from before the test.

        Args:
            runner (Runner): The runner.
        """
        self._keep(for_all=False)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Put the states into the checkpoint.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint; ``random_state`` is added.
        """
        states = self._kept_of_all or [pack_random_state(self._kept or get_random_state())]
        checkpoint[RANDOM_STATE] = {'world_size': get_world_size(), 'ranks': states}

    def restore_kept(self) -> None:
        """Set the states that were kept; without any, do nothing."""
        if self._kept is not None:
            set_random_state(self._kept)
        self._kept = self._kept_of_all = None

    def _keep(self, for_all: bool) -> None:
        self._kept = get_random_state()
        if for_all and get_world_size() > 1:
            self._kept_of_all = all_gather_object(pack_random_state(self._kept))

    def _restore(self, runner: Any) -> None:
        saved, self._loaded = self._loaded, None
        if saved is None:
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
            self._seed_anew(runner)
        else:
            set_random_state(unpack_random_state(saved['ranks'][get_rank()]))

    @staticmethod
    def _seed_anew(runner: Any) -> None:
        # runner.seed holds the rank already, where the ranks are to differ. The iteration is taken
        # in so that the noise of the run's first part is not drawn a second time.
        words = np.random.SeedSequence((int(runner.seed), runner.iter)).generate_state(3)
        random.seed(int(words[0]))
        np.random.seed(words[1])
        torch.manual_seed(int(words[2]))


class _RestoreStateHook(Hook):
    """Undo what hooks, validation and tests drew; the last hook of all."""

    priority = 'LOWEST'

    def __init__(self, owner: RandomStateHook) -> None:
        self._owner = owner

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._owner.restore_kept()

    def after_val(self, runner: Any) -> None:
        self._owner.restore_kept()

    def after_test(self, runner: Any) -> None:
        self._owner.restore_kept()


def get_random_state() -> dict:
    """Get the states of all generators that a training step draws from.

    Returns:
        dict: The native states of Python's, NumPy's, torch's and the current CUDA device's.
    """
    return {
        'python': random.getstate(),
        'numpy': np.random.get_state(),
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_state(state: dict) -> None:
    """Set what :func:`get_random_state` got.

    Args:
        state (dict): The states. One of CUDA is ignored where there is no device.
    """
    random.setstate(state['python'])
    np.random.set_state(state['numpy'])
    torch.set_rng_state(state['torch'])
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])


def pack_random_state(state: dict) -> dict:
    """Write states with numbers and tensors only, so that ``torch.load`` needs to trust nothing.

    Args:
        state (dict): From :func:`get_random_state`.

    Returns:
        dict: For :func:`unpack_random_state`.
    """
    version, words, python_gauss = state['python']
    _, keys, position, has_gauss, numpy_gauss = state['numpy']
    return {
        'python': {
            'version': version,
            'words': torch.tensor(words, dtype=torch.int64),
            'gauss': python_gauss,
        },
        'numpy': {
            'keys': torch.from_numpy(keys.astype(np.int64)),
            'position': int(position),
            'has_gauss': int(has_gauss),
            'gauss': float(numpy_gauss),
        },
        'torch': state['torch'],
        'cuda': state['cuda'],
    }


def unpack_random_state(packed: dict) -> dict:
    """Reverse :func:`pack_random_state`, from tensors on any device.

    Args:
        packed (dict): The packed states.

    Returns:
        dict: For :func:`set_random_state`.
    """
    python, numpy, cuda = packed['python'], packed['numpy'], packed['cuda']
    keys = numpy['keys'].cpu().numpy().astype(np.uint32)
    return {
        'python': (python['version'], tuple(python['words'].tolist()), python['gauss']),
        'numpy': ('MT19937', keys, numpy['position'], numpy['has_gauss'], numpy['gauss']),
        'torch': packed['torch'].cpu(),
        'cuda': None if cuda is None else cuda.cpu(),
    }


def _saves_now(hook: Hook, runner: Any) -> bool:
    """Tell whether a hook will save a checkpoint after this training iteration."""
    if not isinstance(hook, CheckpointHook) or hook.by_epoch:
        return False
    return hook.every_n_train_iters(runner, hook.interval, hook.save_begin) or (
        hook.save_last and hook.is_last_train_iter(runner)
    )
