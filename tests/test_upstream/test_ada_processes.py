"""ADA in two processes on a CPU, with mmagic's own StyleGAN2 and SNGAN."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow
GANS = pytest.mark.parametrize('gan', ['stylegan2', 'sngan'])


@pytest.fixture(scope='module')
def found(repo_root, probes, tmp_path_factory):
    """What both processes saw after each iteration, with the repair and without it."""
    file = tmp_path_factory.mktemp('ada') / 'found.pth'
    script = Path(__file__).parent / 'ada_processes.py'
    group = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(probes.free_port()))
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(file)],
            env={
                **os.environ,
                **group,
                'RANK': rank,
                'LOCAL_RANK': rank,
                'PYTHONPATH': str(repo_root),
                'OMP_NUM_THREADS': '1',
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in '01'
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return torch.load(file, weights_only=True)


def test_without_the_repair_p_does_not_move(found):
    for process in found['stock']:
        assert [iteration['p'] for iteration in process] == [0.25] * 2
        assert [iteration['logged'] for iteration in process] == [None] * 2


@GANS
def test_p_moves_by_the_images_of_both_processes_and_is_logged(found, gan):
    # 1 image in one process, 3 in the other, an update after every 2 iterations, 100 for 1.0
    expected = [0.25, 0.25 + 0.08, 0.25 + 0.08, 0.25 + 0.16]
    for process in found[gan]:
        assert [iteration['p'] for iteration in process] == pytest.approx(expected)
        assert [iteration['logged'] for iteration in process] == pytest.approx(expected)


@GANS
def test_counts_are_sums_over_both_processes(found, gan):
    first, second = found[gan]
    for number in (0, 2):  # the other iterations end in an update, which empties the counts
        signs = first[number]['own signs'] + second[number]['own signs']
        assert first[number]['counts'] == second[number]['counts'] == [4, signs]
        assert first[number + 1]['counts'] == second[number + 1]['counts'] == [0, 0]
    assert [iteration['own signs'] for iteration in first] != [
        iteration['own signs'] for iteration in second
    ]
