"""Random numbers of a process's own, where all processes share one stream."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import get_rank, get_world_size


@contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Let each process of a distributed run draw numbers of its own, by code of the host's.

    Our processes draw alike and keep their share (``diff_rank_seed=False``), so that their number
    changes nothing; what the host draws for a process's images alone would be the same in all. The
    seed comes from the shared stream, which then goes on alike. In one process nothing is done.

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
