"""What torchrun, Slurm or MPI says of this process, before there is a process group."""

import os
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ['Launch', 'read_launch', 'read_rank']

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


def read_rank() -> int:
    """Tell the rank that the launcher gave this process.

    Returns:
        int: The rank; 0 without a launcher.
    """
    ranks = (rank for rank, *_ in _LAUNCHERS)
    return next((int(os.environ[name]) for name in ranks if name in os.environ), 0)


def read_launch(environment: Mapping[str, str] | None = None) -> Launch:
    """Tell which of how many processes this one is.

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
