import pytest

from disp_plugin.cli.read_launcher import Launch, read_launch, read_rank

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


def test_rank_is_that_of_the_first_launcher_that_gives_one(monkeypatch):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK', 'PMI_RANK'):
        monkeypatch.delenv(name, raising=False)
    assert read_rank() == 0
    monkeypatch.setenv('SLURM_PROCID', '3')
    assert read_rank() == 3
    monkeypatch.setenv('PMI_RANK', '5')
    assert read_rank() == 5
    monkeypatch.setenv('OMPI_COMM_WORLD_RANK', '4')
    assert read_rank() == 4
    monkeypatch.setenv('RANK', '2')
    assert read_rank() == 2
