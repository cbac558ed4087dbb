"""Processes and their device: who is who, work for one, waiting, random numbers, leaving.

A launcher (torchrun, Slurm, MPI) starts the processes; mmengine joins them into a process group
later. :func:`read_launch` and :func:`wait_for_file` work before there is a group.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from filelock import FileLock, Timeout
from mmengine.dist import broadcast_object_list, get_rank, get_world_size, is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import distributed, nn

__all__ = [
    'Launch',
    'choose_device',
    'count_cores',
    'leave_group',
    'lock_file',
    'on_main_process',
    'own_random_numbers',
    'read_launch',
    'show_work',
    'unwrap_model',
    'wait_for_file',
]

Result = TypeVar('Result')

# What file systems say that cannot lock files, such as some network file systems.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

# Of torchrun, Open MPI, others, Slurm: rank, number of processes, rank within the node. Slurm comes
# last: within a job, mpirun starts a daemon a node as Slurm's tasks, whose variables all ranks of
# the node inherit. Of Slurm's sizes, the step's is first: an interactive one of a job of many tasks
# is a single process.
_LAUNCHERS = (
    ('RANK', ('WORLD_SIZE',), ('LOCAL_RANK',)),
    ('OMPI_COMM_WORLD_RANK', ('OMPI_COMM_WORLD_SIZE',), ('OMPI_COMM_WORLD_LOCAL_RANK',)),
    ('PMI_RANK', ('PMI_SIZE',), ('MPI_LOCALRANKID', 'PMI_LOCAL_RANK')),
    ('SLURM_PROCID', ('SLURM_STEP_NUM_TASKS', 'SLURM_NTASKS'), ('SLURM_LOCALID',)),
)

SIGN_SECONDS = 5.0
"""How often a process at work shows that it lives."""

POLL_SECONDS = 1.0
"""How often a waiting process looks."""


class Launch(NamedTuple):
    """One of the processes that a launcher started.

    Attributes:
        rank (int): Its number, from 0.
        num_processes (int): How many there are.
        local_rank (int): Its number within its node.
    """

    rank: int = 0
    num_processes: int = 1
    local_rank: int = 0


def read_launch(environment: Mapping[str, str] | None = None) -> Launch:
    """Read which of how many processes this one is.

    Args:
        environment (Mapping[str, str], optional): Variables. Defaults to None: the process's own.

    Returns:
        Launch: The only one of 1 without a launcher, and in a batch script of Slurm itself, which
        has its job's variables but runs once.
    """
    env = os.environ if environment is None else environment
    for rank, sizes, local_ranks in _LAUNCHERS:
        size = next((env[name] for name in sizes if env.get(name)), None)
        if rank not in env or size is None:
            continue
        if rank == 'SLURM_PROCID' and 'SLURM_JOB_ID' in env and 'SLURM_STEP_ID' not in env:
            continue
        if rank == 'PMI_RANK' and env.get('SLURM_PROCID') == env[rank]:
            # Slurm itself gives ranks by PMI, but not those within a node.
            local_ranks = (*local_ranks, 'SLURM_LOCALID')
        local_rank = next((env[name] for name in local_ranks if env.get(name)), 0)
        return Launch(int(env[rank]), int(size), int(local_rank))
    return Launch()


@contextmanager
def show_work(file: str | Path) -> Iterator[None]:
    """Show the processes in :func:`wait_for_file` that this one is making their file.

    A hidden file beside it is touched every few seconds and removed at the end, also after an
    error.
    """
    sign = _sign_of(file)
    sign.parent.mkdir(parents=True, exist_ok=True)
    is_done = threading.Event()

    def touch_again() -> None:
        while not is_done.wait(SIGN_SECONDS):
            with suppress(OSError):
                sign.touch()

    sign.touch()
    thread = threading.Thread(target=touch_again, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()
        sign.unlink(missing_ok=True)


def wait_for_file(file: str | Path, timeout: float = 600.0) -> None:
    """Wait for a file that another process makes within :func:`show_work`.

    Works between nodes that share a folder, and needs no process group.

    Args:
        file (str | Path): The file, which appears when it is complete.
        timeout (float): Seconds without a sign of the other process. Defaults to 600.0.

    Raises:
        RuntimeError: The other process ended and left no file.
        TimeoutError: The other process has shown no sign of life for ``timeout`` seconds.
    """
    file, sign = Path(file), _sign_of(file)
    stamp: int | None = None
    last_change = time.monotonic()
    while not file.exists():
        previous, stamp = stamp, _read_stamp(sign)
        if previous is not None and stamp is None:
            if file.exists():
                break
            raise RuntimeError(
                f'the process that was making {file} ended and left no file; its own messages say '
                'why'
            )
        # two readings of one clock, the file server's: clocks of nodes differ
        if stamp != previous:
            last_change = time.monotonic()
        elif time.monotonic() - last_change > timeout:
            raise TimeoutError(
                f'waited for {file}, but the process that makes it (rank 0) has shown no sign of '
                f'life for {timeout:.0f} seconds; look for its error, or make the file beforehand'
            )
        time.sleep(POLL_SECONDS)


def _sign_of(file: str | Path) -> Path:
    path = Path(file)
    return path.with_name(f'.{path.name}.in-work')


def _read_stamp(sign: Path) -> int | None:
    try:
        return sign.stat().st_mtime_ns
    except OSError:
        return None


def on_main_process(compute: Callable[[], Result]) -> Result:
    """Compute in rank 0 and give the result, or the exception, to all ranks.

    Without the exception the other ranks would wait for the broadcast until it times out.
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


@contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Let each process draw random numbers of its own within the block.

    All processes draw alike (``diff_rank_seed=False``) and each keeps its part, so that their
    number changes nothing. Where the host draws for the images of one process, that would give the
    same numbers in all. The seed comes from the shared stream, which goes on alike afterwards. A
    single process draws as ever.

    Args:
        device (torch.device): Where the numbers are drawn.
    """
    if get_world_size() == 1:
        yield
        return
    seed = int(torch.randint(2**62, ()))
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        torch.manual_seed(seed + get_rank())
        yield


@contextmanager
def lock_file(path: str | Path, timeout: float = -1) -> Iterator[bool]:
    """Keep other processes out while a block runs.

    A file system without locks gives a warning, and the block runs all the same.

    Args:
        path (str | Path): File to lock; it is created, and its folder must exist.
        timeout (float): Seconds to wait for another process. Defaults to -1: without end.

    Yields:
        bool: False where another process still has the lock, else True.

    Raises:
        OSError: The file cannot be opened.
    """
    lock = FileLock(path, timeout=timeout)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        print_log(
            f'WARNING: files in {Path(path).parent} cannot be locked ({error}): do not let two '
            'processes build the same files there at once'
        )
    try:
        yield True
    finally:
        lock.release()


def unwrap_model(model: nn.Module) -> Any:
    """Take a runner's model out of its distributed wrapper, if it is in one."""
    return model.module if is_model_wrapper(model) else model


def count_cores() -> int:
    """Count the cores that this process may use."""
    can_ask = hasattr(os, 'sched_getaffinity')
    return len(os.sched_getaffinity(0)) if can_ask else os.cpu_count() or 1


def leave_group() -> None:
    """Destroy the process group, if there is one, after a barrier.

    A process that just ends while its group still has threads can be aborted by them, and takes the
    others with it.
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def choose_device(name: str | None = None) -> torch.device:
    """Choose the device of a tool before anything is loaded.

    Args:
        name (str | None): What the user gave, such as 'cpu' or 'cuda:0'. Defaults to None: a GPU if
            there is one.

    Returns:
        torch.device: A device on which tensors can be made.

    Raises:
        ValueError: There is no such device here.
    """
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        torch.zeros(1, device=name).item()
    except Exception as error:  # of many types: torch has no one for a device that is not there
        reason = str(error).strip().split('\n')[0]
        there = ['cpu', *(f'cuda:{index}' for index in range(torch.cuda.device_count()))]
        raise ValueError(
            f'--device {name!r} cannot be used ({reason}); this machine has {", ".join(there)}; '
            'without --device a GPU is taken if there is one'
        ) from error
    return torch.device(name)
