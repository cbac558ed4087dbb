"""The end of a distributed run."""

from torch import distributed

__all__ = ['leave_group']


def leave_group() -> None:
    """Part from the other processes of a run, if there are any, when all are done.

    A process that just ends while its group still has threads can be aborted by them, and takes the
    others with it.
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
