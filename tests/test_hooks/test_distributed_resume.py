"""Two processes on a CPU: resumed exactly, each with its own random generators."""

import os
import subprocess
import sys

import pytest
import torch
from mmagic.registry import MODELS

from tests.test_hooks.tiny_runs import GMM, assert_same, gan_cfg

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def found(data, repo_root, tmp_path_factory):
    """What two processes found when they trained, resumed and compared."""
    work_dir = tmp_path_factory.mktemp('two_processes')
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    script = repo_root / 'tests/test_hooks/two_processes.py'
    result = subprocess.run(
        [*command, *map(str, (script, *data, work_dir))],
        env={**os.environ, 'PYTHONPATH': str(repo_root), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return torch.load(work_dir / 'found.pth', weights_only=True)


def test_the_weights_are_those_of_the_uninterrupted_run_named_as_by_one_process(found):
    assert set(found['names']) == set(MODELS.build(gan_cfg(sampler=GMM)).state_dict())
    assert found['different'] == []


def test_each_process_goes_on_with_its_own_generators_and_draws(found):
    (first, second), (first_resumed, second_resumed) = found['ranks']
    assert torch.equal(first, first_resumed) and torch.equal(second, second_resumed)
    assert not torch.equal(first, second)
    assert found['num_draws'] == 5 * 2 * 2


def test_the_first_process_fits_the_sampler_once_per_bank_and_the_other_receives_it(found):
    assert found['fits'] == [[0], []]
    first, *others = found['samplers']
    assert first.shape[0] == 2
    assert len(others) == 3 and all(torch.equal(first, other) for other in others)
    # another bank is fitted to by the first, and both forget the former
    (first_fits, first), (other_fits, other) = found['changed']
    assert (first_fits, other_fits) == (1, 0) and torch.equal(first, other)
    assert not any(torch.equal(first, before) for before in found['samplers'])


def test_a_signal_to_one_process_ends_the_step_of_both_and_saves_it(found):
    assert_same(*found['steps'])
