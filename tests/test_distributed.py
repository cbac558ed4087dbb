import threading
import time

import pytest
import torch

from disp_plugin import distributed
from disp_plugin.distributed import (
    Launch,
    choose_device,
    on_main_process,
    own_random_numbers,
    read_launch,
    show_work,
    wait_for_file,
)


def torchrun(*numbers):
    return dict(zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), map(str, numbers), strict=False))


def open_mpi(*numbers):
    names = ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK')
    return dict(zip(names, map(str, numbers), strict=False))


def hydra(*numbers):
    return dict(zip(('PMI_RANK', 'PMI_SIZE', 'MPI_LOCALRANKID'), map(str, numbers), strict=False))


def slurm(rank, size, local_rank, step_size=None):
    """A job of many tasks; without a step, it is a shell or a batch script, which runs once."""
    names = ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID')
    job = dict(zip(names, map(str, (rank, size, local_rank)), strict=True), SLURM_JOB_ID='7')
    step = {'SLURM_STEP_ID': '0', 'SLURM_STEP_NUM_TASKS': str(step_size)}
    return job if step_size is None else {**job, **step}


# What a rank inherits from the daemon on its node, the second of two, that mpirun starts by Slurm.
DAEMON = slurm(1, 8, 0, step_size=2)


@pytest.mark.parametrize(
    ('environment', 'launch'),
    [
        ({}, Launch(0, 1, 0)),
        (torchrun(2, 4, 1), Launch(2, 4, 1)),
        (torchrun(1), Launch(0, 1, 0)),
        (slurm(3, 8, 1, step_size=8), Launch(3, 8, 1)),
        (slurm(3, 8, 1, step_size=8) | hydra(3, 8), Launch(3, 8, 1)),  # srun --mpi=pmi2
        (slurm(0, 8, 1), Launch(0, 1, 0)),
        (slurm(0, 8, 1, step_size=1), Launch(0, 1, 1)),  # an interactive shell
        ({'SLURM_PROCID': '1', 'SLURM_NTASKS': '2'}, Launch(1, 2, 0)),
        (open_mpi(1, 2), Launch(1, 2, 0)),
        (hydra(1, 2), Launch(1, 2, 0)),
        (DAEMON | open_mpi(6, 8, 2), Launch(6, 8, 2)),
        (DAEMON | hydra(6, 8, 2), Launch(6, 8, 2)),
        # torchrun within a step of one task on each node, and within mpirun
        (slurm(3, 8, 1, step_size=8) | torchrun(5, 16), Launch(5, 16, 0)),
        (open_mpi(1, 2, 0) | torchrun(5, 8, 1), Launch(5, 8, 1)),
    ],
)
def test_launchers_are_understood(environment, launch):
    assert read_launch(environment) == launch


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(distributed, 'POLL_SECONDS', 0.01)
    monkeypatch.setattr(distributed, 'SIGN_SECONDS', 0.01)


def test_a_file_is_waited_for_while_its_maker_shows_life(quick, tmp_path):
    def make():
        with show_work(tmp_path / 'x'):
            time.sleep(0.5)
            (tmp_path / 'x').touch()

    maker = threading.Thread(target=make)
    maker.start()
    wait_for_file(tmp_path / 'x', timeout=0.2)
    maker.join()
    assert [file.name for file in tmp_path.iterdir()] == ['x']


def test_the_wait_ends_when_the_maker_fails(quick, tmp_path):
    def fail():
        with pytest.raises(OSError), show_work(tmp_path / 'folder' / 'x'):
            time.sleep(0.2)
            raise OSError

    maker = threading.Thread(target=fail)
    maker.start()
    with pytest.raises(RuntimeError, match=r'was making .*x ended and left no file'):
        wait_for_file(tmp_path / 'folder' / 'x', timeout=60)
    maker.join()


@pytest.mark.parametrize('is_killed', [True, False])
def test_the_wait_ends_without_a_sign_of_life(is_killed, quick, tmp_path):
    """A process that was killed leaves its sign behind, but no longer touches it."""
    if is_killed:
        (tmp_path / '.x.in-work').touch()
    with pytest.raises(TimeoutError, match=r'no sign of life for 0 seconds; look for its error'):
        wait_for_file(tmp_path / 'x', timeout=0.1)


def test_the_others_get_what_rank_0_computed_or_raised(monkeypatch):
    def receive(outcome):
        outcome[:] = [7, None]

    monkeypatch.setattr(distributed, 'is_main_process', lambda: False)
    monkeypatch.setattr(distributed, 'broadcast_object_list', receive)
    assert on_main_process(lambda: pytest.fail('computed in another rank')) == 7
    monkeypatch.setattr(
        distributed, 'broadcast_object_list', lambda o: o.__setitem__(1, ValueError('of rank 0'))
    )
    with pytest.raises(ValueError, match='of rank 0'):
        on_main_process(lambda: pytest.fail('computed in another rank'))


def test_ranks_draw_numbers_of_their_own_and_share_a_stream_afterwards(monkeypatch):
    monkeypatch.setattr(distributed, 'get_world_size', lambda: 2)
    own, shared = [], []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, 'get_rank', lambda rank=rank: rank)
        torch.manual_seed(0)
        with own_random_numbers(torch.device('cpu')):
            own.append(torch.rand(3))
        shared.append(torch.rand(3))
    assert not torch.equal(*own)
    assert torch.equal(*shared)


def test_a_single_process_draws_as_ever():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with own_random_numbers(torch.device('cpu')):
        assert torch.equal(torch.rand(3), expected)


def test_a_device_that_is_there_is_taken(monkeypatch):
    assert choose_device('cpu') == torch.device('cpu')
    for is_there, name in ((True, 'cuda'), (False, 'cpu')):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda is_there=is_there: is_there)
        assert choose_device() == torch.device(name)


@pytest.mark.parametrize('name', ['gpu', 'cuda:99', 'cuda:x', '', 'meta'])
def test_a_device_that_is_not_there_is_named(name):
    message = rf"--device '{name}' cannot be used .*this machine has cpu"
    with pytest.raises(ValueError, match=message):
        choose_device(name)
