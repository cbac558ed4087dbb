"""A fresh process for all that must be seen in one, and two forked processes of one group."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROBES = Path(__file__).resolve().parent / 'probes.py'

TRANSFORMERS = 'class CLIPModel:\n    pass\n\n\nwas_imported_for_real = True\n'


@pytest.fixture(scope='session')
def run_python(repo_root):
    """A function (*arguments, **environment) -> a finished process of this Python."""

    def run(*arguments, path=(), cwd=None, **environment):
        paths = os.pathsep.join([*map(str, path), str(repo_root)])
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, 'PYTHONPATH': paths, **environment},
            capture_output=True,
            text=True,
            cwd=cwd,
        )

    return run


@pytest.fixture(scope='session')
def fresh_process(run_python, tmp_path_factory):
    """What every probe meets in a process in which its patch was left out."""
    folder = tmp_path_factory.mktemp('packages')
    # must neither be imported by mmagic nor be lost to later code
    (folder / 'transformers.py').write_text(TRANSFORMERS)
    result = run_python(PROBES, path=[folder], DISP_PLUGIN_FULL_MMAGIC='')
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def run_rank(rank, function, port, folder):
    from mmengine.dist import init_dist

    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    init_dist('pytorch', backend='gloo' if torch.cuda.is_available() else 'nccl')
    torch.save(function(rank), folder / str(rank))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    """A function: what is called with each rank in a process of its own -> what both returned."""

    def run(function):
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            port = server.getsockname()[1]
        folder = tmp_path_factory.mktemp('processes')
        # forked, since every other start imports torch and mmagic once more
        torch.multiprocessing.start_processes(
            run_rank, (function, port, folder), nprocs=2, start_method='fork'
        )
        return [torch.load(folder / str(rank), weights_only=True) for rank in range(2)]

    return run
