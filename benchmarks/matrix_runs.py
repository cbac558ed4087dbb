"""How matrix.py carries out its runs: one after another, or one on each GPU."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matrix_cells import write_config

TOOLS = Path(__file__).resolve().parent.parent
REPORTS = {'best': 'report_best.json', 'last': 'report_last.json'}
"""Snapshot -> the metric cards of a run."""


class Processes:
    """The commands that are running, so that an interruption ends them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self.is_stopped = False

    def start(self, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        """Run a tool to its end.

        Args:
            command (list[str]): Its file and arguments.
            log (Path): What it prints is added to this file.
            env (dict[str, str] | None): Environment variables to set. Defaults to None.

        Raises:
            RuntimeError: It failed; the message is its error, or the last line that it printed.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        begin = log.stat().st_size if log.is_file() else 0
        with log.open('ab') as stream:
            with self._lock:
                if self.is_stopped:
                    raise RuntimeError('not run')
                process = subprocess.Popen(
                    [sys.executable, *command],
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(env or {})},
                )
                self._running.add(process)
            try:
                status = process.wait()
            finally:
                self._running.discard(process)
        if status:
            printed = log.read_bytes()[begin:].decode(errors='replace')
            reason = find_reason(printed)[:300]
            raise RuntimeError(f'{Path(command[0]).name} failed (see {log}): {reason}')

    def stop(self) -> None:
        """End what is running, and let nothing begin."""
        with self._lock:
            self.is_stopped = True
            for process in self._running:
                process.terminate()


def find_reason(printed: str) -> str:
    """Find out why a tool failed.

    Args:
        printed (str): What it printed.

    Returns:
        str: Its last line that begins with "error:", as a user's errors do, or else its last line.
    """
    lines = [line.strip() for line in re.split(r'[\r\n]', printed) if line.strip()]
    errors = [line for line in lines if line.startswith('error:')]
    return (errors or lines or [''])[-1]


@dataclass(frozen=True)
class Run:
    """One training of one cell.

    Attributes:
        cell (str): Name of the cell.
        seed (int): Seed of all its random draws.
        folder (Path): Its work folder.
        text (str): Its config.
        max_iters (int): Its length.
        trained (Path | None): Folder of the run whose snapshots it samples by a sampler of its
            own; None where it trains.
        sampler (tuple[str, ...]): That sampler, as tools/fit_sampler.py takes it.
    """

    cell: str
    seed: int
    folder: Path
    text: str
    max_iters: int
    trained: Path | None = None
    sampler: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, cell: str, seed: int, cfg: Any, work_dir: Path, trained_by: str | None = None
    ) -> Run:
        """Settle the run of a cell's config by a seed.

        Args:
            cell (str): Name of the cell.
            seed (int): Seed of all its random draws.
            cfg (Config): Its config.
            work_dir (Path): Folder of the matrix.
            trained_by (str | None): Name of the cell whose snapshots it samples. Defaults to
                None: it trains.

        Returns:
            Run: The run.
        """
        cfg.merge_from_dict({'randomness.seed': seed})
        folder = work_dir / cell / f'seed{seed}'
        run = cls(cell, seed, folder, write_config(cfg), cfg.train_cfg.max_iters)
        if trained_by is None:
            return run
        sampler = tuple(f'{name}={value}' for name, value in cfg.model.sampler.items())
        return replace(run, trained=work_dir / trained_by / folder.name, sampler=sampler)

    @property
    def name(self) -> str:
        """str: Cell and seed."""
        return f'{self.cell} seed {self.seed}'

    @property
    def config(self) -> Path:
        """Path: Its config; not in its folder, where mmengine writes one of the same name."""
        return self.folder.with_suffix('.py')

    def is_finished(self) -> bool:
        """Tell whether there is nothing left to do.

        Raises:
            RuntimeError: What is there was made by another config.
        """
        if self.config.is_file() and self.config.read_text() != self.text:
            raise RuntimeError(
                f'{self.folder} holds a run of another config than {self.config} would be now; '
                'delete both, or choose another --work-dir'
            )
        for other in sorted(self.config.parent.glob('seed*.py')):
            if _leave_out_seed(other.read_text()) != _leave_out_seed(self.text):
                raise RuntimeError(
                    f'{other} is of another config than {self.config} would be now, and one row '
                    'cannot hold both; delete its run, or choose another --work-dir'
                )
        return (self.folder / REPORTS['last']).is_file()

    def carry_out(self, start: Callable[..., None], env: dict[str, str]) -> None:
        """Train, or go on, and evaluate the best and the last snapshot.

        Args:
            start (Callable): :meth:`Processes.start`.
            env (dict[str, str]): Environment variables to set.

        Raises:
            RuntimeError: One of the tools failed.
        """
        from disp_plugin.evaluation.run import find_run
        from disp_plugin.files import write_file

        write_file(self.config, self.text)
        trained = self.trained or self.folder
        is_trained = (trained / f'iter_{self.max_iters}.pth').is_file()
        if self.trained and not is_trained:
            raise RuntimeError(f'{trained}, whose snapshots it samples, is not finished')
        if not is_trained:
            train = [str(TOOLS / 'train.py'), str(self.config), '--work-dir', str(self.folder)]
            start([*train, '--resume'], self.folder / 'matrix.log', env)
        best, last = find_run(trained, 'best'), find_run(trained, 'last')
        if best.best is not None:
            self._evaluate(best.checkpoint, 'best', start, env)
        if best.best == last.iteration:  # the same weights
            text = (self.folder / REPORTS['best']).read_text()
            write_file(self.folder / REPORTS['last'], text)
        else:
            self._evaluate(last.checkpoint, 'last', start, env)

    def _evaluate(
        self, checkpoint: Path, kind: str, start: Callable[..., None], env: dict[str, str]
    ) -> None:
        out, log = self.folder / REPORTS[kind], self.folder / 'matrix.log'
        if out.is_file():
            return
        if self.trained:
            own = self.folder / checkpoint.name
            fit = [str(TOOLS / 'fit_sampler.py'), str(checkpoint), '--out', str(own)]
            start([*fit, '--sampler', *self.sampler], log, env)
            checkpoint = own
        start([str(TOOLS / 'evaluate.py'), str(checkpoint), '--out', str(out)], log, env)


def _leave_out_seed(text: str) -> list[str]:
    return [line for line in text.split('\n') if not line.startswith('randomness = ')]


def train_all(
    runs: list[Run], jobs: int | None, processes: Processes, after_each: Callable[[], None]
) -> dict[str, str]:
    """Carry out what is not finished; a failed run does not stop the others.

    Args:
        runs (list[Run]): The runs.
        jobs (int | None): How many at once; None for one on each GPU, or 1.
        processes (Processes): Ends them on an interruption.
        after_each (Callable): Called after each run, such as to write the table.

    Returns:
        dict[str, str]: Reason by name of each run that failed.
    """
    from disp_plugin.progress import track

    failed: dict[str, str] = {}
    waiting = []
    for run in runs:
        try:
            if not run.is_finished():
                waiting.append(run)
        except RuntimeError as error:
            failed[run.name] = str(error)
    done = len(runs) - len(waiting)
    if done:
        print(f'{done} of {len(runs)} runs are there already', flush=True)
    slots, jobs = _make_slots(jobs)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    pool = ThreadPoolExecutor(jobs)
    begun = time.monotonic()
    try:
        futures = {pool.submit(_carry_out, run, slots, processes): run for run in waiting}
        finished = track(_list_as_they_end(futures), len(runs), 'runs', done=done)
        for count, future in enumerate(finished, 1):
            run, error = futures[future], future.exception()
            if error is not None:
                failed[run.name] = str(error)
            left = (time.monotonic() - begun) / count * (len(waiting) - count) / 60
            outcome = f'failed: {error}' if error else 'done'
            print(f'[{done + count}/{len(runs)}] {run.name} {outcome}; {left:.0f} min left')
            sys.stdout.flush()
            after_each()
    except BaseException:
        processes.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        signal.signal(signal.SIGTERM, before)
    return failed


def _list_as_they_end(futures: Iterable[Future]) -> Iterator[Future]:
    """Wait in short turns, since an interruption reaches Python only between two of them."""
    waiting = set(futures)
    while waiting:
        ended, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
        yield from ended


def _carry_out(run: Run, slots: queue.SimpleQueue, processes: Processes) -> None:
    env = slots.get()
    try:
        run.carry_out(processes.start, env)
    finally:
        slots.put(env)


def _make_slots(jobs: int | None) -> tuple[queue.SimpleQueue, int]:
    """Give each run that goes on at a time a GPU of its own, where there are any."""
    import torch

    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    num_gpus = torch.cuda.device_count()
    names = visible.split(',') if visible else [str(index) for index in range(num_gpus)]
    jobs = jobs or num_gpus or 1
    slots: queue.SimpleQueue = queue.SimpleQueue()
    for index in range(jobs):
        slots.put({'CUDA_VISIBLE_DEVICES': names[index % num_gpus]} if num_gpus else {})
    return slots, jobs
