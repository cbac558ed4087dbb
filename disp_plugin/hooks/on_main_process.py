"""Work for one process, whose outcome all of them need."""

from collections.abc import Callable
from typing import Any, TypeVar

from mmengine.dist import broadcast_object_list, is_main_process

__all__ = ['on_main_process']

Result = TypeVar('Result')


def on_main_process(compute: Callable[[], Result]) -> Result:
    """Compute in rank 0 and give the result to all ranks.

    A fault stops all processes: one that waits for a broadcast would wait for ever.

    Args:
        compute (Callable): What to compute; called in rank 0 only.

    Returns:
        Any: What it returned, in every rank.

    Raises:
        Exception: What it raised, in every rank.
    """
    outcome: list[Any] = [None, None]
    if is_main_process():
        try:
            outcome[0] = compute()
        except Exception as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    result, fault = outcome
    if fault is not None:
        raise fault
    return result
