"""How far a run is, asked without starting a training."""

from typing import Any

__all__ = ['training_iteration']


def training_iteration(runner: Any) -> int | None:
    """Tell the iteration of a runner that trains.

    Args:
        runner (Runner): The runner.

    Returns:
        int | None: Iterations done; None for a runner that only validates or tests, which would
        build its training if it were asked for ``iter``.
    """
    is_training = runner._train_loop is not None and not isinstance(runner._train_loop, dict)
    return runner.iter if is_training else None
