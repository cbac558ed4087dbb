"""A signal lets a step end, and be saved; what is saved already ends at once."""

import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from disp_plugin.hooks import ResumableTrainLoop, resumable_train_loop
from disp_plugin.models import DISPSNGAN
from disp_plugin.signals import Stopped
from tests.test_hooks.tiny_runs import EMA_BATCH_NORM, assert_same, load, snapshot

RARELY = dict(interval=100)


@pytest.fixture(autouse=True)
def ctrl_c():
    """Let Ctrl-C interrupt, which a test run in the background ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def send(monkeypatch):
    """A function (step, *signals) that sends signals when that step of training begins."""

    def prepare(at, *numbers, processes=lambda: [os.getpid()]):
        steps, real = [], DISPSNGAN.train_step

        def step(self, *args, **kwargs):
            steps.append(None)
            for number in numbers if len(steps) == at else ():
                for process in processes():
                    os.kill(process, number)
            return real(self, *args, **kwargs)

        monkeypatch.setattr(DISPSNGAN, 'train_step', step)

    return prepare


@pytest.fixture(scope='module')
def whole(train):
    """A run that nothing stops."""
    return train('sngan', 5, hooks=[EMA_BATCH_NORM])


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_the_step_is_finished_and_saved_as_in_an_undisturbed_run(make, train, send, whole, number):
    handler = signal.getsignal(number)
    send(2, number)
    run = make('sngan', 5, hooks=[EMA_BATCH_NORM], checkpoint=RARELY)
    with pytest.raises(Stopped) as stop:
        run.train()
    assert stop.value.code == 128 + number and signal.getsignal(number) == handler
    saved = snapshot(run, 3)
    assert Path(run.work_dir, 'last_checkpoint').read_text() == saved
    assert any(f'the newest checkpoint is {saved}' in text for text in run.warnings)
    for part in ('state_dict', 'optimizer', 'random_state'):
        assert_same(load(run, 3)[part], load(whole, 3)[part])
    resumed = train('sngan', 5, hooks=[EMA_BATCH_NORM], resume_from=saved)
    assert_same(load(resumed, 5)['state_dict'], load(whole, 5)['state_dict'])


def test_processes_on_gpus_ask_each_other_after_an_interval(make, send, monkeypatch):
    monkeypatch.setattr(resumable_train_loop, 'get_backend', lambda: 'nccl')
    monkeypatch.setattr(resumable_train_loop, 'ASK_INTERVAL', 3)
    send(2, signal.SIGTERM)
    run = make('sngan', 9, checkpoint=RARELY)
    with pytest.raises(Stopped):
        run.train()
    assert Path(run.work_dir, 'last_checkpoint').read_text() == snapshot(run, 4)


def test_a_signal_to_the_workers_too_lets_the_step_end(make, send):
    def with_workers():
        workers = [str(worker.pid) for worker in multiprocessing.active_children()]
        subprocess.run(['kill', '-TERM', *workers])  # a signal of the parent ends them quietly
        time.sleep(0.3)  # the loader learns of a worker's death
        assert len(workers) == 2
        yield os.getpid()

    send(2, signal.SIGTERM, processes=with_workers)
    run = make('sngan', 5, num_workers=2, checkpoint=RARELY)
    with pytest.raises(Stopped):
        run.train()
    assert Path(snapshot(run, 3)).is_file()


def test_a_second_ctrl_c_ends_at_once(make, send):
    send(2, signal.SIGINT, signal.SIGTERM, signal.SIGINT)
    run = make('sngan', 5, checkpoint=RARELY)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert not list(Path(run.work_dir).glob('*.pth'))


@pytest.mark.parametrize(('interval', 'last'), [(1, 1), (100, 2)])
def test_between_steps_only_what_is_not_saved_lets_a_signal_wait(make, monkeypatch, interval, last):
    """A validation may take longer than a cluster waits."""

    def begin_validation(self):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ResumableTrainLoop, '_decide_current_val_interval', begin_validation)
    run = make('sngan', 5, checkpoint=dict(interval=interval))
    with pytest.raises(Stopped):
        run.train()
    assert [path.name for path in Path(run.work_dir).glob('*.pth')] == [f'iter_{last}.pth']
