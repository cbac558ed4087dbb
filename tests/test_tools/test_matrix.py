"""The matrix trains its cells, goes on after an interruption, and states what the runs gave."""

import csv
import json
import signal
import statistics
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from disp_plugin.evaluation.run import read_log
from disp_plugin.priors import PriorBank

ENCODER = (
    "tiny=dict(type='CheckpointEncoder', arch='timm/resnet18', untrained=True, in_size=16, "
    'arch_kwargs=dict(channels=[16, 32, 64, 128]))'
)


@pytest.fixture
def matrix(tool, repo_root, digits_folder, tmp_path, monkeypatch):
    """The tool, whose commands run in this process: importing all would take most of the time."""
    module = tool('benchmarks/matrix.py')
    plan = tool('benchmarks/matrix_plan.py')
    commands, started_by = [], []

    def start(self, command, log, env=None):
        started_by.append(self)
        if self.is_stopped:
            raise RuntimeError('not run')
        commands.append(command)
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            tool(command[0].rsplit('/', 1)[-1]).main(command[1:])
        except SystemExit as error:
            raise RuntimeError(f'exit status {error.code}') from error

    monkeypatch.setattr(module.Processes, 'start', start)
    monkeypatch.chdir(tmp_path)

    def run(*args, methods=('unconditional', 'disp'), companions=('plain',), options=()):
        commands.clear()
        config = repo_root / 'configs' / 'disp_sngan_digits.py'
        module.main([
            *(str(config), '--work-dir', 'out', '--methods', *methods),
            *('--companions', *companions, '--encoder', ENCODER, *args),
            '--cfg-options', f'data_root={digits_folder}', 'batch_size=4',
            'train_cfg.val_begin=4', 'train_cfg.val_interval=4',
            'default_hooks.checkpoint.interval=2', 'default_hooks.logger.interval=1',
            'default_hooks.checkpoint.save_best=kid24_val_pixels',
            'model.generator.base_channels=4', 'model.ema_config.start_iter=0',
            'model.discriminator.discriminator.base_channels=4',
            'val_evaluator.metrics=[kid,floor,disc_gap]', 'val_evaluator.cache_dir=features',
            'val_evaluator.fake_nums=24', 'test_evaluator.fake_nums=24', *options,
        ])  # fmt: skip

    def find(name):
        """How often a tool ran, and on what."""
        return [command[1] for command in commands if command[0].endswith(name)]

    def is_stopped():
        return started_by[-1].is_stopped

    return SimpleNamespace(
        run=run, find=find, out=tmp_path / 'out', plan=plan, is_stopped=is_stopped, module=module
    )


def rows_of(out):
    with (out / 'matrix.csv').open() as file:
        return list(csv.DictReader(file))


def card_values(out, cell, snapshot, name):
    """The numbers of a cell, read without the tool's help."""
    values = []
    for seed in (0, 1):
        file = out / cell / f'seed{seed}' / f'report_{snapshot}.json'
        cards = json.loads(file.read_text())['cards']
        values += [card['value'] for card in cards if card['name'] == name]
    return values


@pytest.fixture
def sigint():
    """Let Ctrl-C interrupt: a shell's background jobs, as a test run may be one, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(monkeypatch, gan, at, is_stopped):
    """Let the at-th step of training be where the user presses Ctrl-C."""
    steps, real = [], gan.train_step

    def step(self, data, optim_wrapper):
        steps.append(0)
        if len(steps) == at:
            # again where the first one was lost, as users do
            for _ in range(12):
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                deadline = time.monotonic() + 5
                while not is_stopped() and time.monotonic() < deadline:
                    time.sleep(0.02)
                if is_stopped():
                    break
            raise KeyboardInterrupt
        return real(self, data, optim_wrapper)

    monkeypatch.setattr(gan, 'train_step', step)


@pytest.mark.slow
def test_an_interrupted_matrix_goes_on_and_states_the_statistics_of_its_runs(
    matrix, monkeypatch, sigint
):
    from disp_plugin.models import DISPSNGAN

    arguments = ('--seeds', '0', '1', '--max-iters', '4')
    methods = ('unconditional', 'disp_any_pair', 'disp')
    near = 'model.sampler.num_neighbors=1'
    with monkeypatch.context() as patch:
        interrupt(patch, DISPSNGAN, 4 + 4 + 3, matrix.is_stopped)
        with pytest.raises(SystemExit, match='130'):
            matrix.run(*arguments, methods=methods, options=(near,))
    assert len(matrix.find('train.py')) == 3
    unfinished = matrix.out / 'unconditional-plain' / 'seed1'
    assert (unfinished / 'iter_2.pth').is_file() and not (unfinished / 'iter_4.pth').is_file()

    matrix.run(*arguments, methods=methods, options=(near,))
    trained = [path.split('out/')[1] for path in matrix.find('train.py')]
    assert trained == ['unconditional-plain/seed1.py', 'disp-plain-tiny/seed1.py']
    assert not matrix.find('build_prior_bank.py')
    again = max(unfinished.glob('2*'))
    steps = [json.loads(s)['step'] for s in (again / 'vis_data/scalars.json').open()]
    assert min(steps) == 3 and max(steps) == 4

    for seed in (0, 1):
        text = (matrix.out / 'disp-plain-tiny' / f'seed{seed}.py').read_text()
        assert f"randomness = {{'seed': {seed}, " in text

    rows = rows_of(matrix.out)
    cells = {'unconditional-plain', 'disp-plain-tiny', 'disp_any_pair-plain-tiny'}
    assert {row['cell'] for row in rows} == cells
    text = (matrix.out / 'matrix.md').read_text()
    for name in ('kid24_report_pixels', 'kid24_report_encoder', 'disc_gap_report'):
        for cell in cells:
            for snapshot in ('best', 'last'):
                values = card_values(matrix.out, cell, snapshot, name)
                (row,) = (
                    row
                    for row in rows
                    if (row['cell'], row['snapshot'], row['metric']) == (cell, snapshot, name)
                )
                assert len(values) == int(row['num_seeds']) == 2 and values[0] != values[1]
                assert [float(value) for value in row['values'].split()] == values
                assert float(row['mean']) == pytest.approx(np.mean(values))
                deviation = np.std(values, ddof=1)
                assert float(row['standard_deviation']) == pytest.approx(deviation)
                assert f'{np.mean(values):.4g} ± {deviation:.2g}' in text
    kids = [
        card_values(matrix.out, cell, 'last', 'kid24_report_pixels')
        for cell in ('disp-plain-tiny', 'disp_any_pair-plain-tiny')
    ]
    # the same weights, other priors
    assert not set(kids[0]) & set(kids[1])
    notes = json.loads((matrix.out / 'matrix.json').read_text())['cells']
    assert 'its 1 nearest' in notes['disp-plain-tiny']['note']
    assert 'mix any two' in notes['disp_any_pair-plain-tiny']['note']
    assert notes['unconditional-plain']['note'].startswith('without model.sampler.num_neighbors')
    (floor,) = set(card_values(matrix.out, 'disp-plain-tiny', 'last', 'kid_floor24_report_pixels'))
    lines = [line for line in text.splitlines() if line.startswith('| training images')]
    assert any(f'{floor:.4g} |' in line for line in lines)
    assert (matrix.out / 'matrix.png').stat().st_size > 10_000


@pytest.mark.slow
def test_a_failing_cell_is_named_and_stops_no_other(matrix, capsys):
    broken = "broken=dict(model=dict(loss='nonsense'))"
    mistyped = 'mistyped=dict(model=dict(losss=1))'
    with pytest.raises(SystemExit) as ended:
        matrix.run(
            *('--seeds', '0', '--max-iters', '2'),
            methods=('unconditional',),
            companions=(broken, mistyped, 'plain'),
        )
    message = str(ended.value)
    assert message.startswith('2 failed:')
    assert 'unconditional-broken seed 0: exit status 2' in message
    assert 'unconditional-mistyped: ' in message and 'losss' in message
    assert (matrix.out / 'unconditional-plain' / 'seed0' / 'report_last.json').is_file()
    assert '* unconditional-broken: no finished run' in (matrix.out / 'matrix.md').read_text()


def test_a_command_that_fails_is_told_by_the_last_line_of_its_log(tool, tmp_path):
    runs = tool('benchmarks/matrix_runs.py')
    script = tmp_path / 'script.py'
    script.write_text("import os\nprint(os.environ['WHO'])\nraise SystemExit('it is broken')\n")
    log = tmp_path / 'run' / 'log'
    with pytest.raises(RuntimeError, match=r'script\.py failed .*: it is broken'):
        runs.Processes().start([str(script)], log, {'WHO': 'me'})
    assert log.read_text().splitlines() == ['me', 'it is broken']


def test_a_user_error_is_told_rather_than_the_hint_below_it_or_an_older_one(tool, tmp_path):
    runs = tool('benchmarks/matrix_runs.py')
    script, log = tmp_path / 'script.py', tmp_path / 'log'
    for printed, told in (
        ('9 of 10\rerror: no such bank\n(--debug prints the traceback)', r': error: no such bank$'),
        ('killed', r': killed$'),
    ):
        script.write_text(f'print({printed!r})\nraise SystemExit(2)\n')
        with pytest.raises(RuntimeError, match=told):
            runs.Processes().start([str(script)], log)


def test_an_interruption_ends_the_commands_that_are_running(tool, tmp_path):
    runs = tool('benchmarks/matrix_runs.py')
    script = tmp_path / 'script.py'
    script.write_text("import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    processes, log, errors = runs.Processes(), tmp_path / 'log', []

    def start():
        try:
            processes.start([str(script)], log)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    while not (log.is_file() and 'begun' in log.read_text()):
        time.sleep(0.02)
    processes.stop()
    thread.join(timeout=10)
    assert not thread.is_alive() and len(errors) == 1
    with pytest.raises(RuntimeError, match='not run'):
        processes.start([str(script)], log)


def test_another_config_does_not_pass_for_a_finished_run(tool, tmp_path):
    runs = tool('benchmarks/matrix_runs.py')
    run = runs.Run('disp-plain', 0, tmp_path / 'seed0', 'a = 1\n', 4)
    assert not run.is_finished()
    run.folder.mkdir()
    (run.folder / 'report_last.json').touch()
    (tmp_path / 'seed0.py').write_text('a = 1\n')
    assert run.is_finished()
    (tmp_path / 'seed0.py').write_text('a = 2\n')
    with pytest.raises(RuntimeError, match='another config than .*seed0.py would be now'):
        run.is_finished()


def test_seeds_of_another_config_do_not_go_into_one_row(tool, tmp_path):
    runs = tool('benchmarks/matrix_runs.py')
    (tmp_path / 'seed0.py').write_text("a = 1\nrandomness = {'seed': 0}\n")
    for a, fits in ((1, True), (2, False)):
        text = f"a = {a}\nrandomness = {{'seed': 1}}\n"
        run = runs.Run('disp-plain', 1, tmp_path / 'seed1', text, 4)
        if fits:
            assert not run.is_finished()
        else:
            with pytest.raises(RuntimeError, match='seed0.py is of another config'):
                run.is_finished()


def plan_only(matrix, monkeypatch):
    """Let the tool neither train nor draw."""
    monkeypatch.setattr(matrix.module, 'train_all', lambda *args, **kwargs: {})
    for name in ('write_results', 'draw'):
        monkeypatch.setattr(matrix.module, name, lambda work_dir: None)


@pytest.mark.slow
def test_other_settings_are_refused_before_anything_is_written(matrix, monkeypatch, capsys):
    plan_only(matrix, monkeypatch)
    matrix.run('--seeds', '0', '--max-iters', '4', methods=('unconditional',))
    before = (matrix.out / 'matrix.json').read_text()
    other = ENCODER.replace('tiny', 'b').replace('128', '96')
    any_two = 'model.sampler.num_neighbors=None'
    for arguments, options, told in (
        (('--max-iters', '2'), (), 'max_iters was 4 and is 2;'),
        (
            ('--max-iters', '4'),
            (any_two,),
            'model.sampler.num_neighbors was not given and is None;',
        ),
        (('--max-iters', '4', '--encoder', other), (), 'spaces.encoder was '),
    ):
        methods = ('unconditional', 'disp')
        with pytest.raises(SystemExit, match='2'):
            matrix.run('--seeds', '2', *arguments, methods=methods, options=options)
        message = capsys.readouterr().err
        assert told in message and 'choose another --work-dir' in message
    assert [file.name for file in matrix.out.iterdir()] == ['matrix.json']
    assert (matrix.out / 'matrix.json').read_text() == before

    # a folder of an earlier version adopts the settings of the next command
    old = json.loads(before)
    del old['settings']
    (matrix.out / 'matrix.json').write_text(json.dumps(old))
    matrix.run('--seeds', '0', '--max-iters', '2', methods=('unconditional',))
    assert json.loads((matrix.out / 'matrix.json').read_text())['settings']['max_iters'] == 2


@pytest.mark.slow
def test_what_one_cell_cannot_take_is_its_failure_or_is_left_out(matrix, monkeypatch):
    plan_only(matrix, monkeypatch)
    near = 'dict(model=dict(sampler=dict(num_neighbors=2)))'
    with pytest.raises(SystemExit, match='^1 failed:\n  unconditional-near: TypeError'):
        matrix.run(
            *('--seeds', '0', '--max-iters', '4'),
            methods=('unconditional',),
            companions=(f'near={near}', 'plain'),
            options=('model.sampler.num_neighbors=3',),
        )
    cells = json.loads((matrix.out / 'matrix.json').read_text())['cells']
    assert list(cells) == ['unconditional-plain']
    note = 'without model.sampler.num_neighbors, since it has no sampler'
    assert cells['unconditional-plain']['note'] == note


def test_another_sampler_is_fitted_to_what_another_run_has_trained(tool, tmp_path):
    from mmengine import Config

    runs, plan = tool('benchmarks/matrix_runs.py'), tool('benchmarks/matrix_plan.py')
    sampler = dict(type='VicinalMixSampler', num_neighbors=5)
    cfg = Config(dict(model=dict(sampler=sampler), train_cfg=dict(max_iters=4)))
    plan.mix_any_pair(cfg)
    with pytest.raises(ValueError, match='nothing to change'):
        plan.mix_any_pair(cfg)
    run = runs.Run.of('disp_any_pair-plain', 0, cfg, tmp_path, 'disp-plain')
    commands = []

    def start(command, log, env):
        commands.append([part.removeprefix(f'{tmp_path}/') for part in command])
        commands[-1][0] = command[0].rsplit('/', 1)[-1]

    with pytest.raises(RuntimeError, match='disp-plain/seed0, whose .* is not finished'):
        run.carry_out(start, {})
    trained = tmp_path / 'disp-plain' / 'seed0'
    trained.mkdir(parents=True)
    torch.save({'meta': {'iter': 4}, 'state_dict': {}}, trained / 'iter_4.pth')
    run.carry_out(start, {})
    source, own = 'disp-plain/seed0/iter_4.pth', 'disp_any_pair-plain/seed0/iter_4.pth'
    changed = ['--sampler', 'type=VicinalMixSampler', 'num_neighbors=None']
    report = 'disp_any_pair-plain/seed0/report_last.json'
    assert commands == [
        ['fit_sampler.py', source, '--out', own, *changed],
        ['evaluate.py', own, '--out', report],
    ]


def test_a_config_without_held_out_images_is_measured_on_those_given(
    tool, repo_root, make_image_folder, tmp_path
):
    import disp_plugin.register  # noqa: F401

    cells, plan = tool('benchmarks/matrix_cells.py'), tool('benchmarks/matrix_plan.py')
    results, settings = (tool(f'benchmarks/matrix_{n}.py') for n in ('results', 'settings'))
    config = repo_root / 'configs' / 'disp_sngan_anime100.py'
    train, unseen = (make_image_folder(tmp_path / n, seed=i) for i, n in enumerate('ab'))
    names = sorted(file.name for file in train.iterdir())
    (train / 'train.txt').write_text('\n'.join(names))
    options = {'data_root': str(train), 'val_evaluator.fake_nums': 24, 'max_iters': 4}
    arguments = (
        *(str(config), cells.check_methods(config, ('unconditional',)), {'plain': {}}, None),
        *(options, tmp_path / 'out', None),
    )
    with pytest.raises(ValueError, match='--held-out'):
        plan.Plan(*arguments[:4], {'data_root': str(train)}, *arguments[5:])
    spaces = [('pixels', dict(type='PixelEncoder', size=8))]
    planned = plan.Plan(*arguments, str(unseen), spaces)
    cfg, _ = planned.settle(cells.Cell('unconditional', 'plain'))
    assert cfg.val_dataloader.dataset.data_root == cfg.test_dataloader.dataset.data_root
    assert cfg.test_dataloader.dataset.data_root == str(unseen)
    assert (cfg.val_evaluator.split, cfg.test_evaluator.split) == ('val', 'test')
    assert cfg.val_evaluator.fake_nums == 24 and list(cfg.test_evaluator.spaces) == ['pixels']
    assert cfg.default_hooks.checkpoint.save_best == 'kid2048_val_pixels'

    # the same images choose and report: the table says so
    shared = settings.list_settings(planned.base, options, planned.spaces)
    name = 'kid24_test_pixels'
    values = {'a': {snapshot: {name: [1.0]} for snapshot in ('best', 'last')}}
    cell = dict(method='a', companion='plain', num_images=None, encoder=None, note='')
    matrix = {'cells': {'a': cell}, 'commands': []}
    flatters = '## Best snapshot (chosen on the images that report on it'
    assert flatters in results.format_markdown({**matrix, 'settings': shared}, values)
    apart = {**shared, 'test_set': {'data_root': 'elsewhere'}}
    assert flatters not in results.format_markdown({**matrix, 'settings': apart}, values)
    assert flatters not in results.format_markdown(matrix, values)


def test_mean_of_fewer_seeds_than_its_row_says_so(tool):
    results = tool('benchmarks/matrix_results.py')
    found = {
        'fid24_test_pixels': [1.0, 2.0, 6.0],
        'fid_floor24_test_pixels': [0.5, 0.5, 0.5],
        'kid24_test_pixels': [1.0, 2.0],
    }
    values = {'a': {'best': {}, 'last': found}}
    cell = dict(method='a', companion='plain', num_images=None, encoder=None, note='')
    table = results.format_markdown({'cells': {'a': cell}, 'commands': []}, values).splitlines()
    assert '| a, plain | 3 | 3 ± 2.6 | 1.5 ± 0.71 (n = 2) |' in table
    assert '| training images |  | 0.5 |  |' in table


def test_the_best_and_the_last_snapshot_are_evaluated_each_once(tool, tmp_path):
    runs = tool('benchmarks/matrix_runs.py')
    run = runs.Run('disp-plain', 0, tmp_path / 'seed0', 'a = 1\n', 4)
    run.folder.mkdir()
    for name, iteration in (('best_kid24_val_pixels_iter_2', 2), ('iter_2', 2), ('iter_4', 4)):
        content = {'meta': {'iter': iteration}, 'state_dict': {}}
        torch.save(content, run.folder / f'{name}.pth')
    commands = []

    def start(command, log, env):
        commands.append([part.rsplit('/', 1)[-1] for part in command])
        (run.folder / commands[-1][-1]).write_text(commands[-1][1])

    run.carry_out(start, {})
    best = ['evaluate.py', 'best_kid24_val_pixels_iter_2.pth', '--out', 'report_best.json']
    last = ['evaluate.py', 'iter_4.pth', '--out', 'report_last.json']
    assert commands == [best, last]
    (run.folder / 'report_last.json').unlink()
    run.carry_out(start, {})
    assert commands == [best, last, last]
    # the same weights: the numbers are copied
    (run.folder / 'report_last.json').unlink()
    (run.folder / 'best_kid24_val_pixels_iter_2.pth').rename(run.folder / 'best_x_iter_4.pth')
    run.carry_out(start, {})
    assert len(commands) == 3
    assert (run.folder / 'report_last.json').read_text() == best[1]


def test_each_run_that_goes_on_at_a_time_has_a_gpu_of_its_own(tool, monkeypatch):
    runs = tool('benchmarks/matrix_runs.py')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3,5')
    slots, jobs = runs._make_slots(None)
    assert jobs == 2
    assert [slots.get()['CUDA_VISIBLE_DEVICES'] for _ in range(2)] == ['3', '5']
    slots, _ = runs._make_slots(4)
    assert [slots.get()['CUDA_VISIBLE_DEVICES'] for _ in range(4)] == ['3', '5', '3', '5']
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    slots, jobs = runs._make_slots(None)
    assert jobs == 1 and slots.get() == {}


def test_axes_multiply_but_encoders_only_what_has_one(tool):
    cells = tool('benchmarks/matrix_cells.py')
    listed = cells.list_cells(('unconditional', 'disp'), ('plain', 'ada'), (25, 50), ('a', 'b'))
    assert len(listed) == 2 * (2 + 2 * 2)
    names = [cell.name for cell in listed]
    assert len(set(names)) == len(names)
    assert 'unconditional-plain-n25' in names and 'disp-ada-n50-b' in names
    assert cells.Cell('configs/mine.py', 'plain').name == 'mine-plain'


def test_overrides_are_read_as_json_and_as_literals(tool):
    cells = tool('benchmarks/matrix_cells.py')
    freeze = {'model.discriminator.freeze': {'type': 'FreezeD', 'blocks': 2}}
    for text in (
        "dict(model=dict(discriminator=dict(freeze=dict(type='FreezeD', blocks=2))))",
        '{"model": {"discriminator": {"freeze": {"type": "FreezeD", "blocks": 2}}}}',
        "{'model.discriminator.freeze': dict(type='FreezeD', blocks=2)}",
    ):
        assert cells.read_companions(['plain', f'freezed={text}']) == {
            'plain': {},
            'freezed': freeze,
        }
    with pytest.raises(ValueError, match=r"'ada' is unknown; known are plain, diffaugment"):
        cells.read_companions(['ada'])
    with pytest.raises(ValueError, match='neither JSON nor a literal'):
        cells.read_companions(['ada=dict(a='])
    with pytest.raises(ValueError, match='letters, digits'):
        cells.read_companions(['../x={}'])
    assert cells.read_encoders(['a=b.pth'])['a'] == {
        'type': 'CheckpointEncoder',
        'checkpoint': 'b.pth',
    }
    with pytest.raises(ValueError, match='no dict with a type'):
        cells.read_encoders(['a={"checkpoint": 1}'])


def test_names_that_would_share_a_folder_are_refused(tool, tmp_path):
    cells = tool('benchmarks/matrix_cells.py')
    files = [tmp_path / folder / 'mine.py' for folder in 'ab']
    for file in files:
        file.parent.mkdir()
        file.touch()
    first, second = map(str, files)
    assert list(cells.check_methods(files[0], [first, first])) == [first]
    with pytest.raises(ValueError, match=f'{first} and {second} would share'):
        cells.check_methods(files[0], [first, second])
    with pytest.raises(ValueError, match='n25 would be taken for --num-images 25'):
        cells.read_encoders(['n25=a.pth'])
    assert list(cells.read_encoders(['n25b=a.pth'])) == ['n25b']


def test_a_smaller_training_set_is_a_part_of_a_larger_one(tool):
    cells = tool('benchmarks/matrix_cells.py')
    keys = [f'train/{index}.png' for index in range(100)]
    small, large = (cells.choose_subset(keys, num) for num in (25, 50))
    assert len(small) == 25 and set(small) < set(large) < set(keys)
    assert cells.choose_subset(keys[::-1], 25) == small != keys[:25]
    with pytest.raises(ValueError, match='from 2 to 100, but is 101'):
        cells.choose_subset(keys, 101)


def test_methods_are_the_configs_beside_the_given_one(tool, repo_root):
    cells = tool('benchmarks/matrix_cells.py')
    config = repo_root / 'configs' / 'disp_stylegan2_digits.py'
    found = cells.check_methods(config, ('unconditional', 'per_image', 'disp', str(config)))
    assert [path.stem for path in found.values()] == [
        'stylegan2_digits_unconditional',
        'stylegan2_digits_per_image',
        'disp_stylegan2_digits',
        'disp_stylegan2_digits',
    ]
    with pytest.raises(ValueError, match="'disb' is unknown; known are unconditional"):
        cells.check_methods(config, ('disb',))
    with pytest.raises(ValueError, match='disp_any_pair .* name disp beside it'):
        cells.check_methods(config, ('disp_any_pair',))
    with pytest.raises(FileNotFoundError, match='cifar10_per_image'):
        cells.check_methods(config.with_name('disp_stylegan2_cifar10.py'), ('per_image',))


@pytest.mark.slow
def test_every_method_gets_the_config_that_its_name_says(matrix, tool, repo_root, digits_folder):
    cells = tool('benchmarks/matrix_cells.py')
    config = repo_root / 'configs' / 'disp_sngan_digits.py'
    methods = ('unconditional', 'per_image', 'per_image_scaled', 'disp', 'disp_untrained')
    processes = tool('benchmarks/matrix.py').Processes()
    plan = matrix.plan.Plan(
        str(config),
        cells.check_methods(config, methods),
        cells.read_companions(['plain', 'diffaugment']),
        cells.read_encoders([ENCODER]),
        {'data_root': str(digits_folder), 'model.prior_norm': 'l2'},
        matrix.out,
        processes.start,
    )
    listed = cells.list_cells(methods, ['plain'], [25], ['tiny'])
    settled = {cell.method: plan.settle(cell) for cell in listed}
    cfgs = {method: cfg for method, (cfg, _) in settled.items()}
    manifest = (matrix.out / 'manifests' / 'train_25.txt').absolute()
    keys = manifest.read_text().split()
    for method, cfg in cfgs.items():
        dataset = cfg.train_dataloader.dataset.dataset
        assert dataset.ann_file == cfg.val_evaluator.train_dataset.ann_file == str(manifest)
        assert list(cfg.test_evaluator.spaces) == ['pixels', 'encoder'], method
        assert cfg.val_evaluator.spaces == cfg.test_evaluator.spaces
        if cfg.bank_file:
            assert list(PriorBank.open(cfg.bank_file).keys) == sorted(keys)
            assert cfg.custom_hooks[0].bank_file == cfg.bank_file
    assert [cfgs[m].prior_dim for m in methods] == [0, 25, 25, 128, 128]
    assert cfgs['per_image'].encoder.scale == 1.0
    # l2: every prior has the length of the root of 128
    assert cfgs['per_image_scaled'].encoder.scale == pytest.approx(128**0.5, rel=1e-4)
    assert 'priors of length 11.3137' in settled['per_image_scaled'][1]
    assert cfgs['per_image_scaled'].model.prior_norm == 'none'
    augmented, _ = plan.settle(cells.Cell('disp', 'diffaugment', 25, 'tiny'))
    assert augmented.model.discriminator.augmentation.type == 'DiffAugment'
    assert len(matrix.find('build_prior_bank.py')) == 4


def test_the_length_of_priors_is_that_which_the_networks_see(tool):
    plan = tool('benchmarks/matrix_plan.py')
    priors = torch.randn(40, 6) + 3
    bank = PriorBank([f'{index:02d}' for index in range(40)], priors)
    for model, expected in (
        ({}, priors.double().norm(dim=1).mean()),
        (dict(prior_norm='centered_l2'), 6**0.5),
        (dict(prior_norm='centered_l2', prior_length=3.0), 3.0),
    ):
        assert plan.mean_length(bank, model) == pytest.approx(float(expected), rel=1e-5)


def test_an_untrained_control_keeps_the_network_and_its_seed(tool):
    import disp_plugin.register  # noqa: F401

    cells = tool('benchmarks/matrix_cells.py')
    control = cells.make_untrained(dict(type='CheckpointEncoder', checkpoint='a.pth'))
    assert control == dict(type='CheckpointEncoder', checkpoint='a.pth', untrained=True, seed=0)
    with pytest.raises(ValueError, match='PixelEncoder cannot be left untrained'):
        cells.make_untrained(dict(type='PixelEncoder'))


def test_one_seed_has_no_standard_deviation(tool):
    results = tool('benchmarks/matrix_results.py')
    assert results.summarize([2.0]) == (2.0, None)
    mean, deviation = results.summarize([1.0, 2.0, 6.0])
    assert (mean, deviation) == (3.0, pytest.approx(statistics.stdev([1.0, 2.0, 6.0])))
    assert deviation == pytest.approx(7**0.5)


def test_a_line_tells_method_by_color_and_companion_by_style(tool):
    picture, cells = tool('benchmarks/matrix_picture.py'), tool('benchmarks/matrix_cells.py')
    listed = cells.list_cells(['disp', 'per_image'], ['plain', 'ada'], [25, 50], ['a', 'b'])
    looks = picture.choose_looks({cell.name: vars(cell) for cell in listed})
    assert len({tuple(look.values()) for look in looks.values()}) == len(listed) == 12
    for cell in listed:
        for other in listed:
            one, two = looks[cell.name], looks[other.name]
            assert (one['linestyle'] == two['linestyle']) == (cell.companion == other.companion)
            rows = [(c.method, c.num_images, c.encoder) for c in (cell, other)]
            assert (one['color'] == two['color']) == (rows[0] == rows[1])


def test_curves_hold_a_value_of_each_seed(matrix, tool):
    picture = tool('benchmarks/matrix_picture.py')
    for seed, shift in ((0, 0.0), (1, 1.0)):
        folder = matrix.out / 'disp-plain' / f'seed{seed}' / '20260101_000000' / 'vis_data'
        folder.mkdir(parents=True)
        records = [{'iter': 1, 'step': 1, 'loss': 1.0}]
        for step in (2, 4):
            values = {'kid24_val_pixels': step + shift, 'kid24_val_prior': 99.0}
            records.append({**values, 'disc_gap_val': shift, 'step': step})
        (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, records)))
        assert read_log(folder.parent.parent).series['disc_gap_val'][0] == (2, shift)
    curves = picture.read_curves(matrix.out, 'disp-plain')
    assert curves['kid (pixels)'] == {2: [2.0, 3.0], 4: [4.0, 5.0]}
    assert curves['kid (prior)'][2] == [99.0, 99.0]
    assert curves['disc_gap'] == {2: [0.0, 1.0], 4: [0.0, 1.0]}
    assert picture.find_floor({'disp-plain': curves}, 'kid (pixels)') is None
    floors = {'kid_floor (pixels)': {2: [1.0, 1.0], 4: [4.0]}}
    both = {'disp-plain': curves, 'per_image-plain': floors}
    assert picture.find_floor(both, 'kid (pixels)') == 2.0
    assert picture.find_floor(both, 'kid (prior)') is None
    assert picture.find_floor(both, 'disc_gap') is None
