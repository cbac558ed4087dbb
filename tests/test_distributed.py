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

SLURM = {'SLURM_PROCID': '3', 'SLURM_NTASKS': '8', 'SLURM_LOCALID': '1', 'SLURM_JOB_ID': '7'}
# What a rank inherits from the daemon on its node, the second of two, that mpirun starts by Slurm.
DAEMON = {
    'SLURM_PROCID': '1', 'SLURM_NTASKS': '8', 'SLURM_STEP_NUM_TASKS': '2', 'SLURM_LOCALID': '0',
    'SLURM_JOB_ID': '7', 'SLURM_STEP_ID': '0',
}  # fmt: skip
MPI = ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK')
HYDRA = ('PMI_RANK', 'PMI_SIZE', 'MPI_LOCALRANKID')


@pytest.mark.parametrize(
    ('environment', 'launch'),
    [
        ({}, Launch(0, 1, 0)),
        ({'RANK': '2', 'WORLD_SIZE': '4', 'LOCAL_RANK': '1'}, Launch(2, 4, 1)),
        ({**SLURM, 'SLURM_STEP_ID': '0', 'SLURM_STEP_NUM_TASKS': '8'}, Launch(3, 8, 1)),
        ({'SLURM_PROCID': '1', 'SLURM_NTASKS': '2'}, Launch(1, 2, 0)),
        # torchrun within a step of one task on each node
        ({**SLURM, 'SLURM_STEP_ID': '0', 'RANK': '5', 'WORLD_SIZE': '16'}, Launch(5, 16, 0)),
        # a shell, or a batch script, of a job with many tasks runs once
        ({**SLURM, 'SLURM_PROCID': '0'}, Launch(0, 1, 0)),
        (
            {**SLURM, 'SLURM_PROCID': '0', 'SLURM_STEP_ID': '1', 'SLURM_STEP_NUM_TASKS': '1'},
            Launch(0, 1, 1),
        ),
        ({'OMPI_COMM_WORLD_RANK': '1', 'OMPI_COMM_WORLD_SIZE': '2'}, Launch(1, 2, 0)),
        ({'PMI_RANK': '1', 'PMI_SIZE': '2'}, Launch(1, 2, 0)),
        ({'RANK': '1'}, Launch(0, 1, 0)),
        # mpirun within a job of Slurm
        ({**DAEMON, **dict(zip(MPI, '682', strict=True))}, Launch(6, 8, 2)),
        ({**DAEMON, **dict(zip(HYDRA, '682', strict=True))}, Launch(6, 8, 2)),
        # torchrun within mpirun
        (
            {
                **dict(zip(MPI, '120', strict=True)),
                'RANK': '5',
                'WORLD_SIZE': '8',
                'LOCAL_RANK': '1',
            },
            Launch(5, 8, 1),
        ),
        # srun --mpi=pmi2
        (
            {**SLURM, 'SLURM_STEP_ID': '0', 'SLURM_STEP_NUM_TASKS': '8'}
            | {'PMI_RANK': '3', 'PMI_SIZE': '8'},
            Launch(3, 8, 1),
        ),
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


def test_a_device_that_is_there_is_taken():
    assert choose_device('cpu') == torch.device('cpu')
    there = 'cuda' if torch.cuda.is_available() else 'cpu'
    assert choose_device() == choose_device(there) == torch.device(there)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert choose_device() == torch.device('cuda')


@pytest.mark.parametrize('name', ['gpu', 'cuda:99', 'cuda:x', '', 'meta'])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(
        ValueError, match=rf"--device '{name}' cannot be used .*this machine has cpu"
    ):
        choose_device(name)
