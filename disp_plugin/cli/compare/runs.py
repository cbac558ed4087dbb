"""The runs of a comparison: carried out one after another, or one on each GPU, and resumed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from disp_plugin import find_shipped
from disp_plugin.cli.work_folder import list_saved, remove_run
from disp_plugin.evaluation.run import find_run
from disp_plugin.files import write_file

TOOLS = find_shipped('tools')
REPORTS = {'best': 'report_best.json', 'last': 'report_last.json'}
"""Snapshot -> the metric cards of a run."""
LOG = 'compare.log'
REPORT_SECONDS = 60.0
EVALUATION_FRACTION = 0.05
"""How much of a run's time its evaluation is taken to need, for the time that is left."""


async def run_tool(command: list[str], log: Path, env: Mapping[str, str]) -> None:
    """Run a tool to its end; an interruption ends it.

    Args:
        command (list[str]): Its name and arguments.
        log (Path): File that what it prints is added to.
        env (Mapping[str, str]): Environment variables to set.

    Raises:
        RuntimeError: It failed; the message is its last line that begins with "error:", or else
            its last line.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('ab') as stream:
        begin = stream.tell()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(TOOLS / command[0]), *command[1:]),
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
        )
        try:
            status = await process.wait()
        except BaseException:
            process.terminate()
            await process.wait()
            raise
    if status:
        printed = re.split(r'[\r\n]', log.read_bytes()[begin:].decode(errors='replace'))
        lines = [line.strip() for line in printed if line.strip()]
        errors = [line for line in lines if line.startswith('error:')]
        reason = (errors or lines or [''])[-1][:300]
        raise RuntimeError(f'{command[0]} failed (see {log}): {reason}')


@dataclass(frozen=True)
class Run:
    """One training of one cell.

    Args:
        cell (str): Name of the cell.
        seed (int): Seed of all its random draws.
        folder (Path): Its work folder.
        text (str): Its config.
        max_iters (int): Its length.
        trained (Path | None): Folder of the run whose snapshots it samples by a sampler of its own.
            Defaults to None: it trains.
        sampler (tuple[str, ...]): That sampler, as tools/fit_sampler.py takes it. Defaults to ().
    """

    cell: str
    seed: int
    folder: Path
    text: str
    max_iters: int
    trained: Path | None = None
    sampler: tuple[str, ...] = ()

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
        way_out = 'choose another --work-dir, or remove the runs of this comparison by --overwrite'
        if not self.config.is_file() and list_saved(self.folder):
            raise RuntimeError(
                f'{self.folder} holds a run that is none of a comparison; choose another --work-dir'
            )
        if self.config.is_file() and self.config.read_text() != self.text:
            raise RuntimeError(
                f'{self.folder} holds a run of another config than {self.config} would be now; '
                f'{way_out}'
            )
        for other in sorted(self.config.parent.glob('seed*.py')):
            if _leave_out_seed(other.read_text()) != _leave_out_seed(self.text):
                raise RuntimeError(
                    f'{other} is of another config than {self.config} would be now, and one row '
                    f'cannot hold both; {way_out}'
                )
        return (self.folder / REPORTS['last']).is_file()

    def read_iteration(self) -> int:
        """Read from its log how far it has come."""
        logs = sorted(self.folder.glob('*/vis_data/scalars.json'))
        if self.trained is not None or not logs:
            return 0
        with logs[-1].open('rb') as file:
            file.seek(max(0, logs[-1].stat().st_size - 4096))
            lines = file.read().splitlines()
        for line in reversed(lines):
            try:
                return int(json.loads(line)['step'])
            except (ValueError, KeyError, TypeError):
                continue  # a line that is being written, or cut by the seek
        return 0

    def fraction(self) -> float:
        """Estimate which fraction of it is done, by its log."""
        return (1 - EVALUATION_FRACTION) * min(1.0, self.read_iteration() / self.max_iters)

    async def carry_out(self, env: Mapping[str, str]) -> None:
        """Train, or go on, and evaluate the best and the last snapshot.

        Raises:
            RuntimeError: One of the tools failed.
        """
        write_file(self.config, self.text)
        trained = self.trained or self.folder
        is_trained = (trained / f'iter_{self.max_iters}.pth').is_file()
        if self.trained and not is_trained:
            raise RuntimeError(f'{trained}, whose snapshots it samples, is not finished')
        if not is_trained:
            train = ['train.py', str(self.config), '--work-dir', str(self.folder), '--resume']
            await run_tool(train, self.folder / LOG, env)
        best, last = find_run(trained, 'best'), find_run(trained, 'last')
        if best.best is not None:
            await self._evaluate(best.checkpoint, 'best', env)
        if best.best == last.iteration:  # the same weights
            text = (self.folder / REPORTS['best']).read_text()
            write_file(self.folder / REPORTS['last'], text)
        else:
            await self._evaluate(last.checkpoint, 'last', env)

    async def _evaluate(self, checkpoint: Path | None, kind: str, env: Mapping[str, str]) -> None:
        out, log = self.folder / REPORTS[kind], self.folder / LOG
        if out.is_file():
            return
        if checkpoint is None:
            raise RuntimeError(f'{self.trained or self.folder} holds no checkpoint')
        if self.trained:
            own = self.folder / checkpoint.name
            fit = ['fit_sampler.py', str(checkpoint), '--out', str(own), '--sampler']
            await run_tool([*fit, *self.sampler], log, env)
            checkpoint = own
        await run_tool(['evaluate.py', str(checkpoint), '--out', str(out)], log, env)


def remove_runs(folder: Path) -> None:
    """Remove all runs of a cell: configs, checkpoints, logs and numbers, and nothing else."""
    for config in folder.glob('seed*.py'):
        run = config.with_suffix('')
        if run.is_dir():
            remove_run(run)
        for name in (LOG, *REPORTS.values()):
            (run / name).unlink(missing_ok=True)
        config.unlink()


def _leave_out_seed(text: str) -> list[str]:
    return [line for line in text.split('\n') if not line.startswith('randomness = ')]


class Progress:
    """Says on standard output how far all runs are, on a terminal and in a log file alike.

    Args:
        num_runs (int): All runs.
        waiting (list[Run]): Those that are not finished.
    """

    def __init__(self, num_runs: int, waiting: list[Run]) -> None:
        self.num_runs, self.waiting = num_runs, waiting
        self.running: dict[str, Run] = {}
        self.num_ended = 0
        self._begun = time.monotonic()
        self._at_begin = sum(run.fraction() for run in waiting)

    def begin(self, run: Run) -> None:
        """Say that a run begins."""
        self.running[run.name] = run
        self._say(f'{run.name} begins; its log is {run.folder / LOG}')

    def end(self, run: Run, error: str | None) -> None:
        """Say how a run ended."""
        del self.running[run.name]
        self.num_ended += 1
        self._say(f'{run.name} {f"failed: {error}" if error else "done"}; {self.time_left()}')

    def report(self) -> None:
        """Say where the running ones are."""
        at = [
            f'{run.name}: iteration {run.read_iteration()} of {run.max_iters}'
            for run in self.running.values()
        ]
        self._say(f'{"; ".join(at)}; {self.time_left()}')

    def time_left(self) -> str:
        """Estimate the time that is left from what was done since the beginning."""
        done = self.num_ended + sum(run.fraction() for run in self.running.values())
        gained = done - self._at_begin
        if gained <= 0:
            return 'time left not known yet'
        elapsed = time.monotonic() - self._begun
        minutes = round(elapsed / gained * (len(self.waiting) - done) / 60)
        hours = f'{minutes // 60} h ' if minutes >= 60 else ''
        return f'about {hours}{minutes % 60} min left'

    def _say(self, text: str) -> None:
        num_done = self.num_runs - len(self.waiting) + self.num_ended
        print(f'[{num_done}/{self.num_runs}] {text}', flush=True)


def train_all(runs: list[Run], jobs: int | None, after_each: Callable[[], None]) -> dict[str, str]:
    """Carry out what is not finished; a failed run does not stop the others.

    Args:
        runs (list[Run]): The runs.
        jobs (int | None): How many at once; None for one on each GPU, or 1.
        after_each (Callable): Called after each run, such as to write the table.

    Returns:
        dict[str, str]: Reason by name of each run that failed.
    """
    failed: dict[str, str] = {}
    waiting = []
    for run in runs:
        try:
            if not run.is_finished():
                waiting.append(run)
        except RuntimeError as error:
            failed[run.name] = str(error)
    if len(waiting) < len(runs):
        print(f'{len(runs) - len(waiting)} of {len(runs)} runs are there already', flush=True)
    progress = Progress(len(runs), waiting)

    async def work(run: Run, slots: asyncio.Queue[dict[str, str]]) -> None:
        env = await slots.get()
        progress.begin(run)
        try:
            await run.carry_out(env)
        except Exception as error:
            failed[run.name] = str(error)
        progress.end(run, failed.get(run.name))
        after_each()
        slots.put_nowait(env)

    async def work_all() -> None:
        slots: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        for env in list_slots(jobs):
            slots.put_nowait(env)
        pending = {asyncio.ensure_future(work(run, slots)) for run in waiting}
        while pending:
            ended, pending = await asyncio.wait(
                pending, timeout=REPORT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for task in ended:
                task.result()
            if not ended:
                progress.report()

    asyncio.run(work_all())
    return failed


def list_slots(jobs: int | None) -> list[dict[str, str]]:
    """Give each run that goes on at a time a GPU of its own, where there are any."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    num_gpus = torch.cuda.device_count()
    names = visible.split(',') if visible else [str(index) for index in range(num_gpus)]
    return [
        {'CUDA_VISIBLE_DEVICES': names[index % num_gpus]} if num_gpus else {}
        for index in range(jobs or num_gpus or 1)
    ]
