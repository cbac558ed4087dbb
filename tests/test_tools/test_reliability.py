"""benchmarks/reliability.py: what it kills and alters, and that it would notice a loss."""

import json
import os
import random
import signal
import time
from argparse import Namespace
from functools import partial
from pathlib import Path

import pytest
import torch


@pytest.fixture
def reliability(tool):
    return tool('benchmarks/reliability.py')


def write_slowly(is_honest):
    """Count to 20 in a file; go on at what is there, or, dishonestly, at one more."""
    file = Path('count')
    start = len(file.read_text()) if file.is_file() else 0
    for _ in range(start + (start > 0 and not is_honest), 20):
        with file.open('a') as opened:
            opened.write('x')
        time.sleep(0.005)
    return 0


@pytest.fixture
def campaign(reliability, tmp_path, monkeypatch):
    """A function whether a job is honest -> a campaign of nothing but that job."""

    def make(is_honest):
        campaign = reliability.Campaign(tmp_path)
        job = reliability.Job([[]], reliability.digest_files('count'))
        campaign.jobs = {'count': job}
        work = partial(write_slowly, is_honest)
        monkeypatch.setattr(
            campaign, 'start', lambda job, folder: [reliability.Process.start(work, folder)]
        )
        return campaign

    return make


@pytest.mark.parametrize('is_honest', [True, False])
def test_a_run_that_loses_something_when_killed_is_noticed(
    reliability, campaign, tmp_path, is_honest
):
    args = Namespace(num=15, seed=0, only=None, out=tmp_path / 'out.json')
    found = reliability.run_kills(args, campaign(is_honest), [])
    assert sum(found['kills'].values()) >= 15
    assert bool(found['faults']) != is_honest
    records = json.loads(args.out.read_text())
    assert {kill['signal'] for record in records for kill in record['kills']} <= {'KILL', 'TERM'}
    assert reliability.run_kills(args, campaign(is_honest), records)['runs'] == len(records)


def test_a_process_is_ended_with_its_workers(reliability, tmp_path):
    def work():
        worker = os.fork()
        if worker:
            Path('worker').write_text(str(worker))
        time.sleep(60)
        return 0

    process = reliability.Process.start(work, tmp_path)
    while not (tmp_path / 'worker').is_file() or not (tmp_path / 'worker').read_text():
        time.sleep(0.01)
    assert process.wait(0) is None
    process.send(signal.SIGTERM, to_group=True)
    assert process.wait(10) == -signal.SIGTERM


def test_tensors_are_compared_bit_by_bit(reliability):
    value = {'a': [torch.zeros(2), 1.0], 'b': ('x', None)}
    assert reliability.hash_nested(value) == reliability.hash_nested(dict(reversed(value.items())))
    for other in (torch.zeros(2) * -1, torch.zeros(2, dtype=torch.float64), torch.zeros(1, 2)):
        changed = {**value, 'a': [other, 1.0]}
        assert reliability.hash_nested(changed) != reliability.hash_nested(value)


@pytest.mark.parametrize(
    ('read', 'outcome', 'text'),
    [
        (lambda file: 1, 'harmless', ''),
        (lambda file: file.read_bytes().hex(), 'fault', 'another result'),
        (lambda file: int('damaged file.bin'), 'refused', 'file.bin'),
        (lambda file: int('damaged'), 'fault', 'damaged'),
        (lambda file: {}['x'], 'fault', 'KeyError'),
        (lambda file: os.abort(), 'fault', 'ended by -6'),
    ],
)
def test_what_comes_of_an_altered_file_is_told_apart(reliability, tmp_path, read, outcome, text):
    expected = reliability.hash_nested(1)
    use = reliability.Use(tmp_path / 'file.bin', read)
    how, content = reliability.alter(b'\0' * 100, random.Random(0))
    assert content != b'\0' * 100 and how.endswith('of 100')
    found, told = reliability.try_use(use, content, tmp_path / 'case', expected)
    assert found == outcome and text in told
