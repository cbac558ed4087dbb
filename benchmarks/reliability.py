"""What do runs and files lose when processes are killed, and bytes altered? Nothing, it should be.

python benchmarks/reliability.py kill --num 300
python benchmarks/reliability.py corrupt --num 300

kill: a tool is started, and ended by SIGKILL or SIGTERM at a random time, a few times over; each
time the same command goes on. What is there in the end must be, bit for bit, what an undisturbed
run gives. A process is forked from this one, which has imported everything; --exec starts Python
anew, which takes seconds.

corrupt: bytes of a file are flipped, cut out, overwritten, put in or appended at random, and the
file is used. It must be refused by its name, or the result be that of the unaltered file.

Both go on where they stopped when the same command is given again.
"""

import argparse
import atexit
import gc
import hashlib
import importlib
import json
import os
import random
import runpy
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

# One thread, set before NumPy and torch are imported: processes that have threads cannot be forked.
for _name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
    os.environ[_name] = '1'

from disp_plugin.cli.options import add_shared, make_parser  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
MAX_KILLS = 8
"""Of one run; it then ends undisturbed."""
PATIENCE = 180.0
"""Seconds in which a process must end after SIGTERM, or by itself."""
ITERATIONS = 12
MEASURED = ('train sngan, 0 workers', 'train biggan, 2 workers')
"""Trainings with validations, metric cards and a best snapshot."""
IMPORTED_LATE = [
    *('disp_plugin.applications', 'disp_plugin.cli.prepare_run', 'jinja2', 'matplotlib.pyplot'),
    *('disp_plugin.evaluation.evaluate_gan', 'disp_plugin.evaluation.report.page', 'timm.models'),
    *('disp_plugin.encoders.pretrain_encoder', 'sklearn.mixture'),
]
"""What tools import only once they need it."""
SIGNALS = {'KILL': signal.SIGKILL, 'TERM': signal.SIGTERM}

DIGITS, GANS = 'configs/disp_{}_digits.py', ('sngan', 'biggan', 'stylegan2')
NETWORK = json.dumps(dict(channels=[8, 8, 16, 32], stem_width=8))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    verbs = parser.add_subparsers(dest='verb', required=True)
    kill = verbs.add_parser('kill', help='end processes at random times')
    kill.add_argument('--exec', action='store_true', help='start Python anew for each process')
    corrupt = verbs.add_parser('corrupt', help='alter files at random')
    for verb, name in ((kill, 'kills'), (corrupt, 'alterations')):
        verb.add_argument('--num', type=int, default=300, help=f'{name} (default: 300)')
        verb.add_argument('--only', nargs='+', metavar='NAME', help='some of the jobs')
        verb.add_argument('--out', help='JSON file of what happened (default: in --work-dir)')
        verb.add_argument('--work-dir', default='work_dirs/reliability', help='for data and runs')
        add_shared(verb, '--seed', '--debug')
    return parser.parse_args(argv)


# --- processes ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A tool that runs in a process group of its own."""

    pid: int

    @classmethod
    def start(cls, work: Callable[[], int], folder: Path) -> 'Process':
        """Fork, and call a function in a folder; what it prints is added to log.txt there."""
        sys.stdout.flush()
        sys.stderr.flush()
        kept = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS.values())
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, kept)
            return cls(pid)
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not this campaign's
            signal.pthread_sigmask(signal.SIG_SETMASK, kept)
            os.setsid()
            os.chdir(folder)
            log = os.open('log.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            status = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; give its status, negative for a signal, or None if it goes on."""
        until = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= until:
                return None
            time.sleep(0.005)

    def send(self, number: int, to_group: bool) -> None:
        """Send a signal to the process, or to its workers too."""
        with suppress(ProcessLookupError):  # it has no group yet
            if to_group:
                os.killpg(self.pid, number)
                return
        os.kill(self.pid, number)

    def sweep(self) -> None:
        """End workers that outlived it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def run_tool(argv: list[str], anew: bool = False, **env: str) -> int:
    """Run a tool in this process as Python would run the script; return the status."""
    os.environ.update(env)
    if anew:
        os.environ['PYTHONPATH'] = str(ROOT)
        os.execv(sys.executable, [sys.executable, *argv])
    import numpy as np
    import torch

    # as different as those of processes that are started anew
    random.seed()
    np.random.seed()
    torch.seed()
    sys.argv, sys.path[0] = argv, str(Path(argv[0]).parent)
    try:
        runpy.run_path(argv[0], run_name='__main__')
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        atexit._run_exitfuncs()
    return 0


def import_everything() -> None:
    """Import what tools use; what takes long and changes no result is done once, or never."""
    import mmengine.config.config
    import mmengine.runner.runner
    import torch

    import disp_plugin.register  # noqa: F401

    for name in IMPORTED_LATE:
        importlib.import_module(name)
    torch.set_num_threads(1)
    mmengine.config.config.FormatCode = lambda text, **options: (text, True)
    environment = mmengine.runner.runner.collect_env()
    mmengine.runner.runner.collect_env = lambda: environment
    # more parts, and so more places to be interrupted at
    sys.modules['disp_plugin.priors.build_bank'].PART_IMAGES = 64
    gc.collect()
    gc.freeze()  # mmengine collects garbage for every data set, slowly with so many modules


# --- jobs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A command that goes on where it was stopped."""

    commands: list[list[str]]
    """One for each process."""
    digest: Callable[[Path], dict[str, str]]
    """Folder of a run -> what must be equal in the end."""
    prepare: Callable[[Path], None] = lambda folder: None
    """Puts into the folder what the command needs."""


def tool(name: str, *arguments: object) -> list[str]:
    return [str(ROOT / 'tools' / f'{name}.py'), *map(str, arguments)]


@dataclass
class Campaign:
    """Folders, data and jobs of a campaign."""

    work: Path
    anew: bool = False
    jobs: dict[str, Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.digits, self.encoder = self.work / 'digits', self.work / 'encoder.pth'
        self.bank = self.work / 'bank.safetensors'
        self.base = [
            *('--cfg-options', f'data_root={self.digits}', f'encoder.checkpoint={self.encoder}'),
            *('prior_dim=32', f'bank_file={self.bank}'),
        ]

    def make_data(self) -> None:
        """Write the digits, an encoder and a bank, which all jobs share."""
        if self.bank.is_file():
            return
        self.work.mkdir(parents=True, exist_ok=True)
        digits = tool('dataset_converters/digits', '--out', self.digits)
        for command in (
            digits,
            self.pretrain(self.encoder),
            self.pretrain(self.encoder.with_suffix('.safetensors')),
            tool('build_prior_bank', ROOT / DIGITS.format('sngan'), *self.base),
        ):
            run_through([Process.start(partial(run_tool, command), self.work)], self.work)

    def pretrain(self, out: object) -> list[str]:
        """Write the command that trains a small encoder."""
        return tool(
            *('pretrain_encoder', self.digits, out, '--ann-file', 'source.txt', '--size', 16),
            *('--arch', 'timm/resnet10t', '--arch-kwargs', NETWORK, '--epochs', 2),
            *('--batch-size', 256, '--workers', 0),
        )

    def train(self, gan: str, *techniques: str, workers: int = 0, measure: bool = False) -> Job:
        """Describe a short training; ``measure``: with validations and a best snapshot."""
        config = ROOT / DIGITS.format(gan)
        runtime = runpy.run_path(str(ROOT / 'configs/_base_/disp_runtime.py'))
        norms = [hook['type'] for hook in runtime['custom_hooks']].index('EMABatchNormHook')
        options = [
            *('batch_size=8', f'max_iters={ITERATIONS}', 'default_hooks.checkpoint.interval=3'),
            *('default_hooks.logger.interval=1', 'default_hooks.visualization.interval=6'),
            'default_hooks.visualization.n_samples=4',
            *(f'custom_hooks.{norms}.num_batches=2', f'custom_hooks.{norms}.batch_size=8'),
            f'train_dataloader.num_workers={workers}',
            f'train_dataloader.persistent_workers={bool(workers)}',
        ]
        if gan == 'stylegan2':
            options += ['model.generator.style_channels=16', 'model.generator.channel_max=8']
            options += ['model.discriminator.discriminator.channel_max=8']
        else:
            options += ['model.ema_config.start_iter=0', 'model.generator.base_channels=4']
            options += ['model.discriminator.discriminator.base_channels=4']
        if 'ada' in techniques:  # p must move in so few steps
            options += ['model.discriminator.augmentation.ada_kimg=0.05']
        if measure:
            options += ['train_cfg.val_begin=4', 'train_cfg.val_interval=4']
            options += ['val_evaluator.fake_nums=50', 'val_evaluator.cache_dir=features']
            options += ['default_hooks.checkpoint.save_best=kid50_val_pixels']
            options += ['val_evaluator.metrics=[fid,kid]']
        else:
            options += ['val_cfg=None', 'val_dataloader=None', 'val_evaluator=None']
            options += ['default_hooks.checkpoint.save_best=None']
        chosen = ['--technique', *techniques] if techniques else []
        start = tool('train', config, '--work-dir', 'run', '--resume', *chosen)
        return Job([[*start, *self.base, *options]], digest_run)

    def make_jobs(self) -> None:
        """Describe all jobs."""
        manifest = ['--ann-file', 'source.txt', '--image-size', 16, '--batch-size', 8, '--flip']
        encoder = ['--encoder', 'type=CheckpointEncoder', f'checkpoint={self.encoder}']
        build = tool(
            *('build_prior_bank', '--images', self.digits, *manifest, '--workers', 0),
            *('--bank-file', 'bank.safetensors', *encoder),
        )
        bank = digest_files('bank.safetensors')
        self.jobs = {'bank': Job([build], bank), 'bank of 2 processes': Job([build] * 2, bank)}
        self.jobs['encoder'] = Job([self.pretrain('encoder.pth')], digest_files('encoder.pth'))
        for gan in GANS:
            for workers in (0, 2):
                name = f'train {gan}, {workers} workers'
                self.jobs[name] = self.train(gan, workers=workers, measure=name in MEASURED)
                self.jobs[f'{name}, ada'] = self.train(gan, 'ada', workers=workers)
        reference = self.work / 'reference' / 'train sngan, 0 workers' / 'run'

        def copy(folder: Path) -> None:
            shutil.copytree(reference, folder / 'run')

        snapshot = f'run/iter_{ITERATIONS}.pth'
        mixture = ['type=GMMPriorSampler', 'num_components=20', 'seed=0']
        fit = tool('fit_sampler', snapshot, '--sampler', *mixture, '--out', snapshot)
        self.jobs['sampler'] = Job([fit], digest_checkpoint(snapshot, whole=True), copy)
        measured = tool(
            *(
                'evaluate',
                'run',
                '--num-images',
                100,
                '--cache-dir',
                'features',
                '--metrics',
                'kid',
            ),
            *('fid', 'precision_recall', 'copying', '--out', 'cards.json'),
        )
        self.jobs['evaluation'] = Job([measured], digest_files('cards.json'), copy)
        report = tool('report', 'run', '--out', 'report.html')
        self.jobs['report'] = Job([report], digest_files('report.html'), copy)

    def start(self, job: Job, folder: Path) -> list[Process]:
        """Start a job's processes."""
        processes, num = [], len(job.commands)
        for rank, command in enumerate(job.commands):
            env = {'RANK': rank, 'WORLD_SIZE': num, 'LOCAL_RANK': rank} if num > 1 else {}
            env = {name: str(value) for name, value in env.items()}
            work = partial(run_tool, command, self.anew, **env)
            processes.append(Process.start(work, folder))
        return processes

    def learn(self, name: str) -> tuple[float, dict[str, str]]:
        """Run a job undisturbed; give its seconds, and what must be equal."""
        folder = self.work / 'reference' / name
        known = folder / ('known_anew.json' if self.anew else 'known.json')
        if not known.is_file():
            if name in ('sampler', 'evaluation', 'report'):
                self.learn('train sngan, 0 workers')
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            job = self.jobs[name]
            job.prepare(folder)
            start = time.monotonic()
            run_through(self.start(job, folder), folder)
            seconds = time.monotonic() - start
            known.write_text(json.dumps([seconds, job.digest(folder)], indent=1))
        seconds, digest = json.loads(known.read_text())
        return seconds, digest


def run_through(processes: list[Process], folder: Path) -> None:
    """Wait for processes that must succeed."""
    for process in processes:
        status = process.wait(20 * PATIENCE)
        process.sweep()
        if status != 0:
            raise RuntimeError(f'undisturbed, it ended by {status}:\n{read_log_end(folder)}')


def read_log_end(folder: Path) -> str:
    log = folder / 'log.txt'
    return log.read_text(errors='replace')[-1500:] if log.is_file() else ''


# --- what must be equal -------------------------------------------------------------------------


def digest_files(*names: str) -> Callable[[Path], dict[str, str]]:
    """Hash files as they are."""

    def digest(folder: Path) -> dict[str, str]:
        return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}

    return digest


def digest_checkpoint(name: str, whole: bool = False) -> Callable[[Path], dict[str, str]]:
    """Hash all of a checkpoint but times, places and what the log says; ``whole``: all."""

    def digest(folder: Path) -> dict[str, str]:
        from disp_plugin.applications.load_gan import read_checkpoint

        content = dict(read_checkpoint(folder / name))
        if not whole:
            content['meta'] = {k: content['meta'][k] for k in ('iter', 'epoch', 'seed')}
            hub = content.pop('message_hub', {})
            content['prior_bank'] = {**content['prior_bank'], 'file': ''}
            content['runtime_info'] = {
                key: value
                for key, value in hub.get('runtime_info', {}).items()
                if key in ('num_train_draws', 'train_draw_seed')
            }
        return {f'{name} {part}': hash_nested(value) for part, value in content.items()}

    return digest


def digest_run(folder: Path) -> dict[str, str]:
    """Hash the last checkpoint of a training, the best one, metric cards and logged losses."""
    from disp_plugin.evaluation.run import read_log

    run = folder / 'run'
    found = digest_checkpoint(f'run/iter_{ITERATIONS}.pth')(folder)
    for best in sorted(run.glob('best_*.pth')):
        found |= digest_checkpoint(f'run/{best.name}')(folder)
    if (run / 'metric_cards.json').is_file():
        cards = json.loads((run / 'metric_cards.json').read_text())['cards']
        starts = {card['snapshot'].pop('start', '') for card in cards}  # a time
        found['metric cards'] = f'{hash_nested(cards)}, {len(starts)} start'
    found['last_checkpoint'] = Path((run / 'last_checkpoint').read_text().strip()).name
    series = read_log(run).series
    kept = {name: points for name, points in series.items() if name.startswith(('loss', 'augment'))}
    found['logged losses'] = hash_nested(kept)
    return found


def hash_nested(value: object) -> str:
    """Hash tensors, numbers and texts in dicts, lists and tuples, bit by bit."""
    import numpy as np
    import torch

    digest = hashlib.sha256()

    def add(value: object) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f'{value.dtype} {tuple(value.shape)} '.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        elif isinstance(value, Mapping):
            for key in sorted(value, key=str):
                digest.update(f'{key!r}: '.encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            digest.update(f'{len(value)} of '.encode())
            for part in value:
                add(part)
        elif isinstance(value, np.ndarray):
            digest.update(f'{value.dtype} {value.shape} '.encode() + value.tobytes())
        elif hasattr(value, '__dict__'):
            add(vars(value))
        else:
            digest.update(f'{value!r} '.encode())

    add(value)
    return digest.hexdigest()


# --- kill ---------------------------------------------------------------------------------------


def kill_once(
    campaign: Campaign, job: Job, folder: Path, seconds: float, draw: random.Random
) -> tuple[dict | None, str]:
    """Start a job and end it at a random time; give the kill, and what went wrong or ''.

    The kill is None if the job ended before.
    """
    name = draw.choice(sorted(SIGNALS))
    to_group, after = draw.random() < 0.5, draw.random() * 0.8 * seconds
    processes = campaign.start(job, folder)
    victims = [draw.choice(processes)] if draw.random() < 0.5 else list(processes)
    time.sleep(after)
    kill = {'signal': name, 'to': 'group' if to_group else 'process', 'after': round(after, 3)}
    kill['processes'], hit = f'{len(victims)} of {len(processes)}', False
    fault = ''
    for victim in victims:
        status = victim.wait(0)
        if status is not None:
            processes.remove(victim)
            victim.sweep()
            fault = fault or ('' if status == 0 else f'it ended by {status} before it was killed')
            continue
        victim.send(SIGNALS[name], to_group)
        hit = True
    for process in processes:
        status = process.wait(PATIENCE)
        if status is None:
            process.send(signal.SIGKILL, True)
            process.wait(PATIENCE)
            fault = f'{name} did not end it within {PATIENCE:.0f} seconds'
        elif process in victims and status not in (0, -SIGNALS[name], 128 + SIGNALS[name]):
            fault = f'{name} ended it by {status}'
        elif process not in victims and status != 0:
            fault = f'another process was killed, and it ended by {status}'
        # a worker whose process was killed alone may live on for a while, as it would anywhere
        if process not in victims or to_group or fault:
            process.sweep()
    kill['status'] = status if processes else 0
    return (kill if hit else None), fault


def try_job(campaign: Campaign, name: str, folder: Path, draw: random.Random) -> dict:
    """Kill a job some times, let it end, and compare."""
    job, (seconds, expected) = campaign.jobs[name], campaign.learn(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job.prepare(folder)
    kills: list[dict] = []
    fault = ''
    for _ in range(draw.randint(1, MAX_KILLS)):
        kill, fault = kill_once(campaign, job, folder, seconds, draw)
        if kill is None or fault:
            break
        kills.append(kill)
    if not fault:
        statuses = []
        for process in campaign.start(job, folder):
            statuses.append(process.wait(PATIENCE + 20 * seconds))
            process.sweep()
        if any(statuses):
            fault = f'the same command ended by {statuses}'
    if not fault:
        try:
            found = job.digest(folder)
        except (OSError, ValueError, KeyError) as error:
            fault = f'{type(error).__name__}: {error}'
        else:
            names = sorted(expected.keys() | found.keys())
            other = [name for name in names if expected.get(name) != found.get(name)]
            fault = f'it differs in {", ".join(other)}' if other else ''
    litter = [str(file.relative_to(folder)) for file in folder.rglob('.*.part')]
    if fault:
        fault += f'; {folder} is kept'
    else:
        shutil.rmtree(folder)
    record = {'job': name, 'kills': kills, 'fault': fault, 'litter': len(litter)}
    return record | ({'log': read_log_end(folder)} if fault else {})


def run_kills(args: argparse.Namespace, campaign: Campaign, records: list[dict]) -> dict:
    names = choose_names(args, list(campaign.jobs))
    while (num := sum(len(record['kills']) for record in records)) < args.num:
        number = len(records)
        draw = random.Random(f'{args.seed} {number}')
        name = names[number % len(names)]
        record = try_job(campaign, name, campaign.work / f'kill-{args.seed}-{number}', draw)
        records.append(record)
        save(args, records)
        told = record['fault'] or 'as undisturbed'
        num += len(record['kills'])
        print(f'{num} kills: {name}, {len(record["kills"])} times: {told}', flush=True)
    kills = [(record['job'], kill) for record in records for kill in record['kills']]
    return {
        'kills': dict(Counter(name for name, _ in kills)),
        'signals': dict(Counter(f'{kill["signal"]} {kill["to"]}' for _, kill in kills)),
        'runs': len(records),
        'litter': sum(record['litter'] for record in records),
        'faults': [f'{r["job"]}: {r["fault"]}' for r in records if r['fault']],
    }


# --- corrupt ------------------------------------------------------------------------------------


def alter(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Alter bytes at random; say how."""
    data, num = bytearray(content), len(content)
    # headers and the tables at the end of archives are small parts of large files
    area = draw.choice([(0, num), (0, min(num, 2048)), (max(0, num - 2048), num)])
    place = draw.randrange(*area)
    length = min(draw.choice([1, 4, 64, 4096]), num - place)
    kind = draw.choice(['flip', 'overwrite', 'zero', 'cut', 'remove', 'insert', 'append'])
    if kind == 'flip':
        data[place] ^= 1 << draw.randrange(8)
    elif kind == 'overwrite':
        data[place : place + length] = draw.randbytes(length)
    elif kind == 'zero':
        data[place : place + length] = bytes(length)
    elif kind == 'cut':
        del data[place:]
    elif kind == 'remove':
        del data[place : place + length]
    elif kind == 'insert':
        data[place:place] = draw.randbytes(length)
    else:
        data += draw.randbytes(length)
    return f'{kind} at {place} of {num}', bytes(data)


@dataclass(frozen=True)
class Use:
    """A file, and what is made of it."""

    file: Path
    read: Callable[[Path], object]
    """Uses a file of that name in the present folder; gives what must be equal."""


class ToolError(Exception):
    """A tool ended by an error."""


def make_uses(campaign: Campaign) -> dict[str, Use]:
    """Name the files, and how each is used."""
    import torch
    from mmagic.registry import MODELS

    from disp_plugin.applications import load_gan
    from disp_plugin.evaluation.metric_card import read_cards

    for name in ('train sngan, 0 workers', 'train sngan, 2 workers', 'evaluation'):
        campaign.learn(name)
    reference, jobs = campaign.work / 'reference', campaign.jobs
    run = reference / 'train sngan, 0 workers' / 'run'
    last, earlier = (run / f'iter_{number}.pth' for number in (ITERATIONS, ITERATIONS - 3))
    parts = reference / 'parts' / 'bank.safetensors.parts'
    if not parts.is_dir():
        parts.parent.mkdir(parents=True, exist_ok=True)
        half = [*jobs['bank'].commands[0], '--shard', '1/2']
        run_through([Process.start(partial(run_tool, half), parts.parent)], parts.parent)

    def resume(file: Path) -> object:
        shutil.copytree(run, 'run')
        shutil.copy(file, Path('run', last.name).with_name(file.name))
        Path('run', last.name).unlink()
        Path('run/last_checkpoint').write_text(str(Path('run', file.name).absolute()))
        use_tool(jobs['train sngan, 0 workers'].commands[0])
        return digest_checkpoint(f'run/{last.name}')(Path())

    def train(file: Path) -> object:
        command = [*jobs['train sngan, 0 workers'].commands[0], f'bank_file={file}', 'max_iters=1']
        use_tool(command)
        return digest_checkpoint('run/iter_1.pth')(Path())

    def fit(file: Path) -> object:
        mixture = ['type=GMMPriorSampler', 'num_components=20', 'seed=0']
        command = tool('fit_sampler', last, '--sampler', *mixture, '--out', 'out.pth')
        use_tool([*command, '--bank-file', str(file)])
        return digest_checkpoint('out.pth', whole=True)(Path())

    def encode(file: Path) -> object:
        encoder = MODELS.build(dict(type='CheckpointEncoder', checkpoint=str(file)))
        return encoder(torch.linspace(0, 1, 3 * 256).view(1, 3, 16, 16))

    def evaluate(file: Path) -> object:
        shutil.copytree(reference / 'evaluation' / 'features', 'features')
        shutil.copytree(run, 'run')
        shutil.copy(file, Path('features', file.name))
        use_tool(jobs['evaluation'].commands[0])
        return digest_files('cards.json')(Path())

    def build(file: Path) -> object:
        shutil.copytree(parts, parts.name)
        shutil.copy(file, Path(parts.name, file.name))
        use_tool(jobs['bank'].commands[0])
        return digest_files('bank.safetensors')(Path())

    features = sorted((reference / 'evaluation' / 'features').glob('*.safetensors'))
    cards = reference / 'evaluation' / 'cards.json'
    return {
        'bank, training': Use(campaign.bank, train),
        'bank, sampler': Use(campaign.bank, fit),
        'part of a bank': Use(min(parts.glob('part-*')), build),
        'checkpoint': Use(last, lambda file: load_gan(file)[0].state_dict()),
        'checkpoint, resumed': Use(earlier, resume),
        **{f'features {number}': Use(file, evaluate) for number, file in enumerate(features)},
        'cards': Use(cards, lambda file: repr(read_cards(file))),
        'encoder.pth': Use(campaign.encoder, encode),
        'encoder.safetensors': Use(campaign.encoder.with_suffix('.safetensors'), encode),
    }


def use_tool(command: list[str]) -> None:
    """Run a tool; raise what it told if it ended by an error."""
    status = run_tool(command)
    sys.stdout.flush()
    sys.stderr.flush()
    if status:
        lines = Path('log.txt').read_text(errors='replace').splitlines()
        told = [line for line in lines if line.startswith('error: ')]
        raise ToolError(told[-1] if status == 2 and told else f'ended by {status}: {lines[-1:]}')


def use_file(use: Use, name: str) -> int:
    """Use an altered file, in a process of its own; write down what came of it."""
    try:
        result = {'result': hash_nested(use.read(Path(name).absolute()))}
    except (ValueError, FileNotFoundError) as error:
        result = {'error': str(error)}
    except ToolError as error:
        result = (
            {'error': str(error)} if str(error).startswith('error: ') else {'fault': str(error)}
        )
    except Exception as error:
        result = {'fault': f'{type(error).__name__}: {error}'[:500]}
        traceback.print_exc()
    Path('result.json').write_text(json.dumps(result))
    return 0


def try_use(use: Use, content: bytes, folder: Path, expected: str | None) -> tuple[str, str]:
    """Use a file with some content; say whether it is refused or harmless, or what is wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / 'altered').mkdir(parents=True)
    name = f'altered/{use.file.name}'
    (folder / name).write_bytes(content)
    process = Process.start(partial(use_file, use, name), folder)
    status = process.wait(PATIENCE)
    process.sweep()
    if status is None:
        process.wait(PATIENCE)
        return 'fault', f'it did not end within {PATIENCE:.0f} seconds'
    if status:
        return 'fault', f'it ended by {status}: {read_log_end(folder)[-300:]}'
    result = json.loads((folder / 'result.json').read_text())
    if 'fault' in result:
        return 'fault', result['fault']
    if 'error' in result:
        is_named = use.file.name in result['error']
        return ('refused' if is_named else 'fault'), result['error']
    if expected is None:
        return 'reference', result['result']
    is_equal = result['result'] == expected
    return ('harmless', '') if is_equal else ('fault', 'another result, silently')


def run_alterations(args: argparse.Namespace, campaign: Campaign, records: list[dict]) -> dict:
    uses, expected = make_uses(campaign), {}
    names = choose_names(args, list(uses))
    while len(records) < args.num:
        number = len(records)
        draw = random.Random(f'{args.seed} {number}')
        name = names[number % len(names)]
        use, folder = uses[name], campaign.work / f'corrupt-{args.seed}-{number}'
        content = use.file.read_bytes()
        if name not in expected:
            kind, expected[name] = try_use(use, content, folder, None)
            if kind != 'reference':
                raise RuntimeError(f'{name}, unaltered: {expected[name]}\n{read_log_end(folder)}')
        how, altered = alter(content, draw)
        kind, text = try_use(use, altered, folder, expected[name])
        if kind == 'fault':
            text += f'; {folder} is kept'
        else:
            shutil.rmtree(folder)
        records.append({'file': name, 'altered': how, 'outcome': kind, 'text': text})
        save(args, records)
        print(f'{number + 1} alterations: {name}, {how}: {kind} {text[:150]}', flush=True)
    outcomes = Counter(f'{record["file"]}: {record["outcome"]}' for record in records)
    faults = [record for record in records if record['outcome'] == 'fault']
    told = [f'{r["file"]}, {r["altered"]}: {r["text"]}' for r in faults]
    return {'alterations': len(records), 'outcomes': dict(sorted(outcomes.items())), 'faults': told}


# --- the command line ---------------------------------------------------------------------------


def choose_names(args: argparse.Namespace, names: list[str]) -> list[str]:
    unknown = sorted(set(args.only or ()) - set(names))
    if unknown:
        raise ValueError(f'--only takes {"; ".join(names)}, but not {unknown[0]!r}')
    return [name for name in names if name in (args.only or names)]


def save(args: argparse.Namespace, records: list[dict]) -> None:
    from disp_plugin.files import write_file

    write_file(args.out, json.dumps(records, indent=1) + '\n')


def run_campaign(args: argparse.Namespace) -> None:
    work = Path(args.work_dir).absolute()
    args.out = Path(args.out or work / f'{args.verb}.json')
    records = json.loads(args.out.read_text()) if args.out.is_file() else []
    if records:
        print(f'going on after {len(records)} of {args.out}')
    import_everything()
    campaign = Campaign(work, getattr(args, 'exec', False))
    campaign.make_data()
    campaign.make_jobs()
    run = run_kills if args.verb == 'kill' else run_alterations
    result = run(args, campaign, records)
    print(json.dumps(result, indent=1))
    if result['faults']:
        raise SystemExit(1)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    from disp_plugin.cli.errors import user_errors

    with user_errors(args.debug, resume_hint='The same command goes on.'):
        run_campaign(args)


if __name__ == '__main__':
    main()
