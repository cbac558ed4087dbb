"""The shell scripts start train.py and test.py with mmagic's arguments."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

import pytest
import torch

import disp_plugin.register  # noqa: F401  so that torch reads mmengine's checkpoints

ECHO = '#!/bin/sh\nfor argument in "$@"; do echo "$argument"; done\n'


@pytest.fixture
def call(repo_root, tmp_path):
    """A function (script, *arguments, **environment) -> what python, srun, ... was started with."""
    for name in ('python', 'srun', 'sbatch', 'scontrol'):
        (tmp_path / name).write_text(ECHO)
        (tmp_path / name).chmod(0o755)

    def run(script, *arguments, **environment):
        path = f'{tmp_path}:{os.environ["PATH"]}'
        return subprocess.run(
            [str(repo_root / 'tools' / script), *arguments],
            env={'PATH': path, **environment},
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )

    return run


def test_dist_train_starts_one_process_each(call, repo_root):
    lines = call('dist_train.sh', 'a config.py', '2', '--seed', '3', PORT='1234').stdout.split('\n')
    assert lines[:2] == ['-m', 'torch.distributed.run']
    assert '--nproc_per_node=2' in lines and '--master_port=1234' in lines
    script = lines.index(str(repo_root / 'tools' / 'train.py'))
    assert lines[script + 1 : -1] == ['a config.py', '--launcher', 'pytorch', '--seed', '3']


def test_dist_test_hands_the_checkpoint_on(call, repo_root):
    lines = call('dist_test.sh', 'c.py', 'x.pth', '4').stdout.split('\n')
    script = lines.index(str(repo_root / 'tools' / 'test.py'))
    assert '--nproc_per_node=4' in lines and '--standalone' in lines
    assert lines[script + 1 : -1] == ['c.py', 'x.pth', '--launcher', 'pytorch']


def test_several_machines_meet_at_one_port(call):
    environment = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='first')
    lines = call('dist_train.sh', 'c.py', '4', **environment).stdout.split('\n')
    expected = {'--nnodes=2', '--node_rank=1', '--master_addr=first', '--master_port=29500'}
    assert expected <= set(lines) and '--standalone' not in lines


@pytest.mark.slow
def test_a_second_run_on_one_machine_finds_a_free_port(repo_root, image_folder, tmp_path):
    config = str(repo_root / 'configs/disp_sngan_digits.py')
    images = ['--cfg-options', f'data_root={image_folder}', 'ann_file=']
    with ExitStack() as taken:
        with suppress(OSError):  # another run has it, which is as good
            taken.enter_context(socket.create_server(('127.0.0.1', 29500)))
        done = subprocess.run(
            [str(repo_root / 'tools/dist_train.sh'), config, '1', '--dry-run', *images],
            env={**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': str(repo_root)},
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stderr
    assert 'DISPSNGAN' in done.stdout


@pytest.mark.slow
def test_a_run_of_two_processes_that_is_told_to_end_saves_and_goes_on(
    repo_root, small_run, tmp_path
):
    environment = {
        **os.environ,
        'PYTHON': sys.executable,
        'PYTHONPATH': str(repo_root),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
    }
    options = ['max_iters=40', 'batch_size=2', 'default_hooks.logger.interval=2']
    options += ['val_cfg=None', 'val_dataloader=None', 'val_evaluator=None']
    options += ['default_hooks.checkpoint.interval=40', 'default_hooks.checkpoint.save_best=None']

    def start(name, *flags):
        config, *rest = small_run.arguments(tmp_path / name, *options, 'experiment_name=x')
        command = [str(repo_root / 'tools/dist_train.sh'), config, '2', *flags, *rest]
        with open(tmp_path / f'{name}.log', 'w') as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    assert start('whole').wait() == 0, (tmp_path / 'whole.log').read_text()
    process, until = start('cut'), time.monotonic() + 300
    while 'Iter(train) [ 4/40]' not in (tmp_path / 'cut.log').read_text():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() != 0
    said = (tmp_path / 'cut.log').read_text()
    assert said.count('stopped by SIGTERM. Give the same command with --resume') == 1
    saved = [file for file in (tmp_path / 'cut').glob('iter_*.pth') if file.stem != 'iter_40']
    assert len(saved) == 1
    assert start('cut', '--resume').wait() == 0, (tmp_path / 'cut.log').read_text()
    ends = [torch.load(tmp_path / name / 'iter_40.pth') for name in ('whole', 'cut')]
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(ends[0][part], ends[1][part], rtol=0, atol=0)


def test_slurm_train_takes_mmagics_arguments_and_environment(call, repo_root):
    done = call(
        'slurm_train.sh', 'part', 'job', 'c.py', 'w d', '--resume',
        GPUS='4', GPUS_PER_NODE='2', CPUS_PER_TASK='3', SRUN_ARGS='--quiet --nodelist=n',
        SLURM_JOB_ID='7',
    )  # fmt: skip
    lines = done.stdout.split('\n')
    expected = ['--partition=part', '--job-name=job', '--ntasks=4', '--gres=gpu:2']
    expected += ['--ntasks-per-node=2', '--cpus-per-task=3', '--quiet', '--nodelist=n']
    assert set(expected) <= set(lines)
    script = lines.index(str(repo_root / 'tools' / 'train.py'))
    rest = ['c.py', '--work-dir', 'w d', '--launcher', 'slurm', '--resume']
    assert lines[script + 1 : -1] == rest


def test_slurm_train_asks_for_no_gpus_where_a_node_has_none(call):
    environment = dict(GPUS='2', GPUS_PER_NODE='0', SLURM_JOB_ID='7')
    lines = call('slurm_train.sh', 'p', 'j', 'c.py', 'w', **environment).stdout.split('\n')
    assert '--ntasks-per-node=2' in lines
    assert not [line for line in lines if 'gres' in line]


def test_outside_of_a_job_slurm_train_submits_itself_to_be_requeued(call, repo_root, tmp_path):
    arguments = ['part', 'job', 'c.py', 'w d', '--resume']
    lines = call('slurm_train.sh', *arguments, GPUS_PER_NODE='2', SRUN_ARGS='--time=9').stdout
    expected = ['--partition=part', '--ntasks=8', '--gres=gpu:2', '--time=9', '--requeue']
    expected += ['--signal=USR1@120', '--output=w d/slurm-%j.log', '--open-mode=append']
    assert set(expected) <= set(lines.split('\n'))
    command = shlex.split(lines.split('--wrap=')[1])
    assert command == ['exec', str(repo_root / 'tools/slurm_train.sh'), *arguments]
    assert (tmp_path / 'w d').is_dir()


@pytest.mark.parametrize(('status', 'is_requeued'), [(0, False), (138, True), (143, False)])
def test_a_job_whose_time_is_up_is_requeued_and_resumes(call, tmp_path, status, is_requeued):
    (tmp_path / 'srun').write_text(f'{ECHO}exit {status}\n')
    environment = dict(SLURM_JOB_ID='7', SLURM_RESTART_COUNT='1')
    done = call('slurm_train.sh', 'p', 'j', 'c.py', 'w', '--seed', '3', **environment)
    assert done.returncode == status
    printed = done.stdout.split('\n')
    begin = printed.index('slurm') + 1
    rest = ['--seed', '3', '--resume', *(['requeue', '7'] if is_requeued else [])]
    assert printed[begin:-1] == rest


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_too_few_arguments_give_the_usage(call, script):
    done = call(script, 'one')
    assert done.returncode == 2 and 'usage: ' in done.stderr
