"""A comparison trains its cells, goes on after an interruption, and states what the runs gave."""

import asyncio
import csv
import json
import os
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from disp_plugin.evaluation.metric_card import MetricCard, Protocol, Snapshot, Space, write_cards
from disp_plugin.priors import PriorBank

ENCODER = (
    "tiny=dict(type='CheckpointEncoder', arch='timm/resnet18', untrained=True, in_size=16, "
    'arch_kwargs=dict(channels=[16, 32, 64, 128]))'
)
SMALL = (
    'batch_size=4',
    'train_cfg.val_begin=4',
    'train_cfg.val_interval=4',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.save_best=kid24_val_pixels',
    'model.generator.base_channels=4',
    'model.ema_config.start_iter=0',
    'model.discriminator.discriminator.base_channels=4',
    'val_evaluator.metrics=[kid,floor,disc_gap]',
    'val_evaluator.cache_dir=features',
    'val_evaluator.fake_nums=24',
    'test_evaluator.fake_nums=24',
)


@pytest.fixture(scope='module')
def modules():
    """The files of the subject, imported when a test needs them."""
    import disp_plugin.register  # noqa: F401
    from disp_plugin.cli.compare import cells, picture, plan, runs, table

    return SimpleNamespace(cells=cells, picture=picture, plan=plan, runs=runs, table=table)


@pytest.fixture
def compare(tool, modules, repo_root, digits_folder, tmp_path, monkeypatch):
    """The tool, whose commands run in this process: importing all would take most of the time."""
    commands = []

    async def run_tool(command, log, env):
        commands.append(command)
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            tool(command[0]).main(command[1:])
        except SystemExit as error:
            if error.code == 130:
                raise KeyboardInterrupt from error
            raise RuntimeError(f'exit status {error.code}') from error

    monkeypatch.setattr(modules.runs, 'run_tool', run_tool)
    monkeypatch.chdir(tmp_path)

    def run(*args, methods=('unconditional', 'disp'), techniques=('plain',), options=()):
        commands.clear()
        config = repo_root / 'configs' / 'disp_sngan_digits.py'
        tool('compare.py').main([
            *(str(config), '--work-dir', 'out', '--methods', *methods),
            *('--techniques', *techniques, '--encoder', ENCODER, *args),
            *('--cfg-options', f'data_root={digits_folder}', *SMALL, *options),
        ])  # fmt: skip

    def trained():
        """The configs that were trained."""
        return [c[1].split('out/')[1] for c in commands if c[0] == 'train.py']

    return SimpleNamespace(run=run, trained=trained, out=tmp_path / 'out')


def rows_of(out):
    with (out / 'comparison.csv').open() as file:
        return list(csv.DictReader(file))


def card_values(out, cell, snapshot, metric, space=None):
    """The numbers of a cell, read without the tool's help."""
    values = []
    for seed in (0, 1):
        file = out / cell / f'seed{seed}' / f'report_{snapshot}.json'
        for card in json.loads(file.read_text())['cards']:
            protocol = card['protocol']
            if protocol['metric'] == metric and (protocol['space'] or {}).get('name') == space:
                values.append(card['value'])
    return values


def interrupt(monkeypatch, gan, at):
    """Let the at-th step of training be where the user presses Ctrl-C."""
    steps, real = [], gan.train_step

    def step(self, data, optim_wrapper):
        steps.append(0)
        if len(steps) == at:
            raise KeyboardInterrupt
        return real(self, data, optim_wrapper)

    monkeypatch.setattr(gan, 'train_step', step)


def test_a_run_and_a_comparison_share_no_folder(compare, capsys):
    compare.out.mkdir()
    (compare.out / 'iter_2.pth').touch()
    with pytest.raises(SystemExit, match='2'):
        compare.run()
    assert 'out holds a run (iter_2.pth)' in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_and_states_the_statistics_of_its_runs(
    compare, monkeypatch, capsys
):
    from disp_plugin.models import DISPSNGAN

    arguments = ('--seeds', '0', '1', '--max-iters', '4')
    methods = ('unconditional', 'disp_any_pair', 'disp')
    near = 'model.sampler.num_neighbors=1'
    with monkeypatch.context() as patch:
        interrupt(patch, DISPSNGAN, 4 + 4 + 3)
        with pytest.raises(SystemExit, match='130'):
            compare.run(*arguments, methods=methods, options=(near,))
    assert len(compare.trained()) == 3
    unfinished = compare.out / 'unconditional-plain' / 'seed1'
    assert (unfinished / 'iter_2.pth').is_file() and not (unfinished / 'iter_4.pth').is_file()

    capsys.readouterr()
    compare.run(*arguments, methods=methods, options=(near,))
    assert compare.trained() == ['unconditional-plain/seed1.py', 'disp-plain-tiny/seed1.py']
    again = max(unfinished.glob('2*'))
    steps = [json.loads(s)['step'] for s in (again / 'vis_data/scalars.json').open()]
    assert min(steps) == 3 and max(steps) == 4
    printed = capsys.readouterr().out
    assert '2 of 4 runs are there already' in printed
    assert '[3/4] unconditional-plain seed 1 done; about ' in printed

    for seed in (0, 1):
        text = (compare.out / 'disp-plain-tiny' / f'seed{seed}.py').read_text()
        assert f"'seed': {seed}" in text.split('randomness = ')[1].split('\n')[0]
    rows = rows_of(compare.out)
    cells = {'unconditional-plain', 'disp-plain-tiny', 'disp_any_pair-plain-tiny'}
    assert {row['cell'] for row in rows} == cells
    text = (compare.out / 'comparison.md').read_text()
    for name, metric, space in (
        ('kid24_report_pixels', 'kid', 'pixels'),
        ('kid24_report_encoder', 'kid', 'encoder'),
        ('disc_gap_report', 'disc_gap', None),
    ):
        for row in (row for row in rows if row['metric'] == name):
            values = card_values(compare.out, row['cell'], row['snapshot'], metric, space)
            assert len(values) == int(row['num_seeds']) == 2 and values[0] != values[1]
            assert [float(value) for value in row['values'].split()] == values
            assert float(row['mean']) == pytest.approx(np.mean(values))
            deviation = np.std(values, ddof=1)
            assert float(row['standard_deviation']) == pytest.approx(deviation)
            assert f'{np.mean(values):.4g} ± {deviation:.2g}' in text
        assert len([row for row in rows if row['metric'] == name]) == 2 * len(cells)
    kids = [
        card_values(compare.out, cell, 'last', 'kid', 'pixels')
        for cell in ('disp-plain-tiny', 'disp_any_pair-plain-tiny')
    ]
    assert not set(kids[0]) & set(kids[1])  # the same weights, other priors
    notes = json.loads((compare.out / 'comparison.json').read_text())['notes']
    assert 'its 1 nearest' in notes['disp-plain-tiny']
    assert 'mix any two' in notes['disp_any_pair-plain-tiny']
    (floor,) = set(card_values(compare.out, 'disp-plain-tiny', 'last', 'kid_floor', 'pixels'))
    lines = [line for line in text.splitlines() if line.startswith('| training images')]
    assert any(f'{floor:.4g} |' in line for line in lines)
    assert (compare.out / 'comparison.png').stat().st_size > 10_000


@pytest.mark.slow
def test_a_failing_cell_is_named_and_stops_no_other(compare):
    broken = "broken=dict(model=dict(loss='nonsense'))"
    mistyped = 'mistyped=dict(model=dict(losss=1))'
    with pytest.raises(SystemExit) as ended:
        compare.run(
            *('--seeds', '0', '--max-iters', '2'),
            methods=('unconditional',),
            techniques=(broken, mistyped, 'plain'),
        )
    message = str(ended.value)
    assert message.startswith('2 failed:')
    assert 'unconditional-broken seed 0: exit status 2' in message
    assert 'unconditional-mistyped: ' in message and 'losss' in message
    assert (compare.out / 'unconditional-plain' / 'seed0' / 'report_last.json').is_file()
    assert '* unconditional-broken: no finished run' in (compare.out / 'comparison.md').read_text()


@pytest.mark.slow
def test_other_settings_are_refused_before_anything_is_written(
    compare, modules, monkeypatch, capsys
):
    monkeypatch.setattr(modules.runs, 'train_all', lambda *args, **kwargs: {})
    compare.run('--seeds', '0', '--max-iters', '4', methods=('unconditional',))
    before = (compare.out / 'comparison.json').read_text()
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
        with pytest.raises(SystemExit, match='2'):
            compare.run('--seeds', '2', *arguments, methods=('disp',), options=options)
        message = capsys.readouterr().err
        assert told in message and 'remove these runs by --overwrite' in message
    assert (compare.out / 'comparison.json').read_text() == before


class TestTools:
    def write(self, modules, monkeypatch, folder, text):
        monkeypatch.setattr(modules.runs, 'TOOLS', folder)
        (folder / 'script.py').write_text(text)

    @pytest.mark.parametrize(
        ('printed', 'told'),
        [
            ('9 of 10\rerror: no such bank\n(--debug prints the traceback)', 'no such bank$'),
            ('killed', ': killed$'),
        ],
    )
    def test_a_failure_is_told_by_its_error_or_its_last_line(
        self, modules, monkeypatch, tmp_path, printed, told
    ):
        log = tmp_path / 'log'
        log.write_text('error: an older one\n')
        text = f"import os\nprint(os.environ['WHO'])\nprint({printed!r})\nraise SystemExit(2)\n"
        self.write(modules, monkeypatch, tmp_path, text)
        with pytest.raises(RuntimeError, match=rf'script\.py failed .*{told}'):
            asyncio.run(modules.runs.run_tool(['script.py'], log, {'WHO': 'me'}))
        assert 'me\n' in log.read_text()

    def test_an_interruption_ends_the_commands_that_are_running(
        self, modules, monkeypatch, tmp_path
    ):
        log = tmp_path / 'log'
        text = 'import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n'
        self.write(modules, monkeypatch, tmp_path, text)

        async def interrupt():
            running = asyncio.ensure_future(modules.runs.run_tool(['script.py'], log, {}))
            while not (log.is_file() and log.read_text().endswith('\n')):
                await asyncio.sleep(0.02)
            raise KeyboardInterrupt(running)

        with pytest.raises(KeyboardInterrupt):
            asyncio.run(interrupt())
        with pytest.raises(ProcessLookupError):
            os.kill(int(log.read_text()), 0)


class TestRuns:
    def make(self, modules, folder, seed=0, text='a = 1\n'):
        return modules.runs.Run('disp-plain', seed, folder / f'seed{seed}', text, 4)

    def test_another_config_does_not_pass_for_a_finished_run(self, modules, tmp_path):
        run = self.make(modules, tmp_path)
        assert not run.is_finished()
        run.folder.mkdir()
        (run.folder / 'report_last.json').touch()
        run.config.write_text('a = 1\n')
        assert run.is_finished()
        run.config.write_text('a = 2\n')
        with pytest.raises(RuntimeError, match='another config than .*seed0.py would be now'):
            run.is_finished()

    def test_a_run_of_something_else_is_not_continued(self, modules, tmp_path):
        run = self.make(modules, tmp_path)
        run.folder.mkdir()
        (run.folder / 'iter_2.pth').touch()
        with pytest.raises(RuntimeError, match='a run that is none of a comparison'):
            run.is_finished()

    def test_a_comparison_is_removed_and_nothing_else(self, modules, tmp_path):
        cell = modules.cells.Cell('disp', 'plain')
        run = self.make(modules, tmp_path / cell.name)
        run.folder.mkdir(parents=True)
        own = [run.config, run.folder / 'iter_4.pth', run.folder / 'report_best.json']
        own += [run.folder / 'compare.log', tmp_path / 'comparison.md']
        others = [run.folder / 'notes.txt', tmp_path / cell.name / 'mine.py', tmp_path / 'bank']
        for file in (*own, *others):
            file.touch()
        modules.table.remove_comparison(tmp_path)  # none was ever written there
        assert all(file.exists() for file in own)
        modules.table.Comparison({cell.name: cell}, {}, [], {}).write(tmp_path)
        modules.table.remove_comparison(tmp_path)
        assert not [file for file in (*own, tmp_path / 'comparison.json') if file.exists()]
        assert all(file.exists() for file in others)

    def test_seeds_of_another_config_do_not_go_into_one_row(self, modules, tmp_path):
        (tmp_path / 'seed0.py').write_text("a = 1\nrandomness = {'seed': 0}\n")
        same = self.make(modules, tmp_path, 1, "a = 1\nrandomness = {'seed': 1}\n")
        assert not same.is_finished()
        other = self.make(modules, tmp_path, 1, "a = 2\nrandomness = {'seed': 1}\n")
        with pytest.raises(RuntimeError, match='seed0.py is of another config'):
            other.is_finished()

    def test_the_best_and_the_last_snapshot_are_evaluated_each_once(
        self, modules, tmp_path, monkeypatch
    ):
        run, commands = self.make(modules, tmp_path), []
        run.folder.mkdir()
        for name, iteration in (('best_kid24_val_pixels_iter_2', 2), ('iter_2', 2), ('iter_4', 4)):
            content = {'meta': {'iter': iteration}, 'state_dict': {}}
            torch.save(content, run.folder / f'{name}.pth')

        async def run_tool(command, log, env):
            commands.append([part.rsplit('/', 1)[-1] for part in command])
            (run.folder / commands[-1][-1]).write_text(commands[-1][1])

        monkeypatch.setattr(modules.runs, 'run_tool', run_tool)
        asyncio.run(run.carry_out({}))
        best = ['evaluate.py', 'best_kid24_val_pixels_iter_2.pth', '--out', 'report_best.json']
        last = ['evaluate.py', 'iter_4.pth', '--out', 'report_last.json']
        assert commands == [best, last]
        (run.folder / 'report_last.json').unlink()
        asyncio.run(run.carry_out({}))
        assert commands == [best, last, last]
        # the same weights: the numbers are copied
        (run.folder / 'report_last.json').unlink()
        (run.folder / 'best_kid24_val_pixels_iter_2.pth').rename(run.folder / 'best_x_iter_4.pth')
        asyncio.run(run.carry_out({}))
        assert len(commands) == 3
        assert (run.folder / 'report_last.json').read_text() == best[1]

    def test_another_sampler_is_fitted_to_what_another_run_has_trained(
        self, modules, tmp_path, monkeypatch
    ):
        from mmengine import Config

        sampler = dict(type='VicinalMixSampler', num_neighbors=5)
        cfg = Config(dict(model=dict(sampler=sampler), train_cfg=dict(max_iters=4)))
        modules.plan.mix_any_pair(cfg)
        with pytest.raises(ValueError, match='nothing to change'):
            modules.plan.mix_any_pair(cfg)
        maker = SimpleNamespace(work_dir=tmp_path)
        cell = modules.cells.Cell('disp_any_pair', 'plain')
        run = modules.plan.Plan.make_run(maker, cell, cfg, 0)
        commands = []

        async def run_tool(command, log, env):
            commands.append([part.removeprefix(f'{tmp_path}/') for part in command])

        monkeypatch.setattr(modules.runs, 'run_tool', run_tool)
        with pytest.raises(RuntimeError, match='disp-plain/seed0, whose .* is not finished'):
            asyncio.run(run.carry_out({}))
        trained = tmp_path / 'disp-plain' / 'seed0'
        trained.mkdir(parents=True)
        torch.save({'meta': {'iter': 4}, 'state_dict': {}}, trained / 'iter_4.pth')
        asyncio.run(run.carry_out({}))
        source, own = 'disp-plain/seed0/iter_4.pth', 'disp_any_pair-plain/seed0/iter_4.pth'
        changed = ['--sampler', 'type=VicinalMixSampler', 'num_neighbors=None']
        report = 'disp_any_pair-plain/seed0/report_last.json'
        assert commands == [
            ['fit_sampler.py', source, '--out', own, *changed],
            ['evaluate.py', own, '--out', report],
        ]

    def test_each_run_that_goes_on_at_a_time_has_a_gpu_of_its_own(self, modules, monkeypatch):
        list_slots = modules.runs.list_slots
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3,5')
        for given, names in ((None, ['3', '5']), (4, ['3', '5', '3', '5'])):
            assert [slot['CUDA_VISIBLE_DEVICES'] for slot in list_slots(given)] == names
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
        assert list_slots(None) == [{}]

    def test_progress_says_where_each_run_is_and_when_all_are_done(
        self, modules, tmp_path, capsys, monkeypatch
    ):
        now = [0.0]
        monkeypatch.setattr(modules.runs.time, 'monotonic', lambda: now[0])
        runs = [self.make(modules, tmp_path, seed) for seed in range(2)]
        progress = modules.runs.Progress(3, runs)
        progress.begin(runs[0])
        assert capsys.readouterr().out.startswith('[1/3] disp-plain seed 0 begins; its log is ')
        log = runs[0].folder / '20260101_000000' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text('{"loss": 1.0, "step": 1}\n{"loss": 1.0, "step": 2}\n{"lo')
        now[0] = 600.0
        progress.report()
        # 0.475 of two runs in 10 minutes
        line = '[1/3] disp-plain seed 0: iteration 2 of 4; about 32 min left\n'
        assert capsys.readouterr().out == line
        progress.end(runs[0], None)
        assert capsys.readouterr().out == '[2/3] disp-plain seed 0 done; about 10 min left\n'


class TestCells:
    def test_axes_multiply_but_encoders_only_what_has_one(self, modules):
        list_cells, cell = modules.cells.list_cells, modules.cells.Cell
        listed = list_cells(('unconditional', 'disp'), ('plain', 'ada'), (25, 50), ('a', 'b'))
        assert len(listed) == 2 * (2 + 2 * 2)
        names = [cell.name for cell in listed]
        assert len(set(names)) == len(names)
        assert 'unconditional-plain-n25' in names and 'disp-ada-n50-b' in names
        assert cell('configs/mine.py', 'plain').name == 'mine-plain'

    def test_techniques_are_names_or_changes(self, modules):
        read = modules.cells.read_techniques
        freeze = {'model': {'discriminator': {'freeze': {'type': 'FreezeD', 'blocks': 2}}}}
        for text in (
            "dict(model=dict(discriminator=dict(freeze=dict(type='FreezeD', blocks=2))))",
            '{"model": {"discriminator": {"freeze": {"type": "FreezeD", "blocks": 2}}}}',
        ):
            assert read(['plain', 'diffaug+consistency', f'freezed={text}']) == {
                'plain': [],
                'diffaug+consistency': ['diffaug', 'consistency'],
                'freezed': freeze,
            }
        with pytest.raises(ValueError, match=r'--techniques ada must be a dict, but is .dict\(a='):
            read(['ada=dict(a='])
        with pytest.raises(ValueError, match='letters, digits'):
            read(['../x={}'])

    def test_encoders_are_files_or_dicts(self, modules):
        read = modules.cells.read_encoders
        assert read(['a=b.pth'])['a'] == {'type': 'CheckpointEncoder', 'checkpoint': 'b.pth'}
        with pytest.raises(ValueError, match='no dict with a type'):
            read(['a={"checkpoint": 1}'])
        with pytest.raises(ValueError, match='n25 would be taken for --num-images 25'):
            read(['n25=a.pth'])
        assert list(read(['n25b=a.pth'])) == ['n25b']

    def test_methods_are_known_and_have_a_folder_each(self, modules, tmp_path):
        check = modules.cells.check_methods
        first, second = (tmp_path / folder / 'mine.py' for folder in 'ab')
        for file in (first, second):
            file.parent.mkdir()
            file.touch()
        check([str(first), str(first), 'unconditional'])
        with pytest.raises(ValueError, match=f'{first} and {second} would share'):
            check([str(first), str(second)])
        with pytest.raises(ValueError, match="'disb' is unknown; known are unconditional"):
            check(('disb',))
        with pytest.raises(ValueError, match='disp_any_pair .* name disp beside it'):
            check(('disp_any_pair',))
        with pytest.raises(FileNotFoundError, match='no config nowhere.py'):
            check(('nowhere.py',))

    def test_a_smaller_training_set_is_a_part_of_a_larger_one(self, modules):
        choose = modules.cells.choose_subset
        keys = [f'train/{index}.png' for index in range(100)]
        small, large = (choose(keys, num) for num in (25, 50))
        assert len(small) == 25 and set(small) < set(large) < set(keys)
        assert choose(keys[::-1], 25) == small != keys[:25]
        with pytest.raises(ValueError, match='from 2 to 100, but is 101'):
            choose(keys, 101)


class TestPlan:
    def test_every_method_gets_the_config_that_its_name_says(
        self, modules, repo_root, digits_folder, tmp_path
    ):
        methods = ('unconditional', 'per_image', 'per_image_scaled', 'disp', 'disp_untrained')
        plan = modules.plan.Plan(
            str(repo_root / 'configs' / 'disp_sngan_digits.py'),
            modules.cells.read_techniques(['plain', 'diffaug']),
            modules.cells.read_encoders([ENCODER]),
            {'data_root': str(digits_folder), 'prior_norm': 'l2'},
            tmp_path,
        )
        listed = modules.cells.list_cells(methods, ['plain'], [25], ['tiny'])
        settled = {cell.method: plan.settle(cell) for cell in listed}
        cfgs = {method: cfg for method, (cfg, _) in settled.items()}
        keys = (tmp_path / 'manifests' / 'train_25.txt').read_text().split()
        for method, cfg in cfgs.items():
            dataset = cfg.train_dataloader.dataset
            images = (digits_folder / dataset.ann_file).read_text().split()
            assert images == keys
            assert list(cfg.test_evaluator.spaces) == ['pixels', 'encoder'], method
            assert cfg.val_evaluator.spaces == cfg.test_evaluator.spaces
            if method.startswith('disp'):
                bank = PriorBank.open(digits_folder / dataset.bank_file)
                assert list(bank.keys) == sorted(keys)
            else:
                assert dataset.get('bank_file') is None
        assert [cfgs[m].model.prior_dim for m in methods] == [0, 25, 25, 128, 128]
        assert cfgs['per_image'].model.per_image_scale == 1.0
        # l2: every prior has the length of the root of 128
        scaled = cfgs['per_image_scaled'].model
        assert scaled.per_image_scale == pytest.approx(128**0.5, rel=1e-4)
        assert 'priors of length 11.3137' in settled['per_image_scaled'][1]
        assert scaled.prior_norm == 'none' and cfgs['disp'].model.prior_norm == 'l2'
        augmented, _ = plan.settle(modules.cells.Cell('disp', 'diffaug', 25, 'tiny'))
        assert augmented.model.discriminator.augmentation.type == 'DiffAugment'
        assert len(list((tmp_path / 'banks').glob('*.safetensors'))) == 2

    def make_folder_plan(self, modules, repo_root, folder, work_dir, more=None, **given):
        options = {'data_root': str(folder), 'val_evaluator.fake_nums': 24, 'max_iters': 4}
        options |= more or {}
        config = str(repo_root / 'configs' / 'disp_biggan_folder.py')
        spaces = {'pixels': dict(type='PixelEncoder', size=8)}
        techniques = modules.cells.read_techniques(['plain'])
        return modules.plan.Plan(config, techniques, {}, options, work_dir, spaces=spaces, **given)

    def test_a_config_without_held_out_images_is_measured_on_those_given(
        self, modules, repo_root, make_image_folder, tmp_path
    ):
        train, unseen = (make_image_folder(tmp_path / n, seed=i) for i, n in enumerate('ab'))
        plan = self.make_folder_plan(
            modules, repo_root, train, tmp_path / 'out', held_out=str(unseen)
        )
        cfg, _ = plan.settle(modules.cells.Cell('unconditional', 'plain'))
        assert cfg.val_dataloader.dataset.data_root == str(unseen)
        assert cfg.test_dataloader.dataset.data_root == str(unseen)
        assert (cfg.val_evaluator.split, cfg.test_evaluator.split) == ('val', 'test')
        assert cfg.val_evaluator.fake_nums == 24 and list(cfg.test_evaluator.spaces) == ['pixels']
        # these images report, so that they must not choose a snapshot, too
        assert cfg.default_hooks.checkpoint.save_best is None
        with pytest.raises(ValueError, match='are the images that chose the best snapshot'):
            self.make_folder_plan(
                modules,
                repo_root,
                train,
                tmp_path / 'other',
                held_out=str(unseen),
                more={'default_hooks.checkpoint.save_best': 'kid24_val_pixels'},
            )

    def test_without_any_a_fifth_of_the_images_is_held_out(
        self, modules, repo_root, make_image_folder, tmp_path, capsys
    ):
        from mmagic.registry import DATASETS

        from disp_plugin.cli.config import build_training_set

        folder = make_image_folder(tmp_path / 'images', num=20)
        plan = self.make_folder_plan(modules, repo_root, folder, tmp_path / 'out')
        assert '4 of the 20 are held out' in capsys.readouterr().out
        cfg, _ = plan.settle(modules.cells.Cell('unconditional', 'plain'))
        train = set(build_training_set(cfg).image_keys)
        held_out = DATASETS.build(cfg.test_dataloader.dataset).image_keys
        assert len(train) == 16 and len(held_out) == 4 and not train & set(held_out)
        few = make_image_folder(tmp_path / 'few', num=9)
        with pytest.raises(ValueError, match='9 images are too few to hold some of them out'):
            self.make_folder_plan(modules, repo_root, few, tmp_path / 'few_out')

    def test_the_length_of_priors_is_that_which_the_networks_see(self, modules):
        priors = torch.randn(40, 6) + 3
        bank = PriorBank([f'{index:02d}' for index in range(40)], priors)
        for model, expected in (
            ({}, priors.double().norm(dim=1).mean()),
            (dict(prior_norm='centered_l2'), 6**0.5),
            (dict(prior_norm='centered_l2', prior_length=3.0), 3.0),
        ):
            length = modules.plan.mean_length(bank, model)
            assert length == pytest.approx(float(expected), rel=1e-5)

    def test_an_untrained_control_keeps_the_network_and_its_seed(self, modules):
        make_untrained = modules.plan.make_untrained
        for type in ('Checkpoint', 'Timm', 'Torchvision', 'Packaged'):
            config = dict(type=f'{type}Encoder', checkpoint='a.pth')
            assert make_untrained(config) == dict(config, untrained=True, seed=0)
        with pytest.raises(ValueError, match='PixelEncoder cannot be left untrained'):
            make_untrained(dict(type='PixelEncoder'))


class TestTable:
    def test_one_seed_has_no_standard_deviation(self, modules):
        assert modules.table.summarize([2.0]) == (2.0, None)
        mean, deviation = modules.table.summarize([1.0, 2.0, 6.0])
        assert mean == 3.0
        assert deviation == pytest.approx(statistics.stdev([1.0, 2.0, 6.0])) == 7**0.5

    def test_a_mean_of_fewer_seeds_says_so(self, modules):
        cell, rows = modules.cells.Cell('a', 'plain'), []
        for snapshot in ('best', 'last'):
            for metric, values in (
                ('fid', [1.0, 2.0, 6.0]),
                ('fid_floor', [0.5, 0.5, 0.5]),
                ('kid', [1.0, 2.0]),
            ):
                protocol = Protocol(metric, 'test', 24, space=Space('pixels'))
                rows.append(modules.table.Row(cell, snapshot, protocol.name, protocol, values))
        comparison = modules.table.Comparison({'a-plain': cell}, {}, [], {})
        lines = modules.table.format_markdown(comparison, rows).splitlines()
        assert '| a, plain | 3 | 3 ± 2.6 | 1.5 ± 0.71 (n = 2) |' in lines
        assert '| training images |  | 0.5 |  |' in lines
        assert '## Last snapshot: pixels, 24 samples, test images' in lines
        assert not any('†' in line for line in lines)

    def test_numbers_of_the_family_that_d_sees_by_are_marked(self, modules):
        rows = []
        for technique, is_seen in (('plain', False), ('feature_discriminator', True)):
            cell = modules.cells.Cell('a', technique)
            protocol = Protocol('kid', 'test', 24, space=Space('lite1', is_seen_by_d=is_seen))
            rows.append(modules.table.Row(cell, 'last', protocol.name, protocol, [1.5]))
        comparison = modules.table.Comparison({}, {}, [], {})
        lines = modules.table.format_markdown(comparison, rows).splitlines()
        assert '| a, plain | 1 | 1.5 |' in lines
        assert '| a, feature_discriminator | 1 | 1.5 † |' in lines
        assert any(line.startswith('† flatters: D was trained') for line in lines)


class TestPicture:
    def test_a_line_tells_method_by_color_and_technique_by_style(self, modules):
        listed = modules.cells.list_cells(
            ['disp', 'per_image'], ['plain', 'ada'], [25, 50], ['a', 'b']
        )
        looks = modules.picture.choose_looks({cell.name: cell for cell in listed})
        assert len(set(looks.values())) == len(listed) == 12
        for cell in listed:
            for other in listed:
                (color, style), (other_color, other_style) = looks[cell.name], looks[other.name]
                assert (style == other_style) == (cell.technique == other.technique)
                rows = [(c.method, c.num_images, c.encoder) for c in (cell, other)]
                assert (color == other_color) == (rows[0] == rows[1])

    def test_curves_hold_a_value_of_each_seed(self, modules, tmp_path):
        picture, space = modules.picture, Space('pixels')
        for seed in (0, 1):
            cards = []
            for step in (2, 4):
                kid = Protocol('kid', 'val', 24, space=space)
                gap = Protocol('disc_gap', 'val')
                cards += [
                    MetricCard(kid, step + float(seed), snapshot=Snapshot(step)),
                    MetricCard(gap, float(seed), snapshot=Snapshot(step)),
                ]
            folder = tmp_path / 'disp-plain' / f'seed{seed}'
            folder.mkdir(parents=True)
            write_cards(folder / 'metric_cards.json', cards)
        curves = picture.read_curves(tmp_path, 'disp-plain')
        assert curves == {
            'kid (pixels)': {2: [2.0, 3.0], 4: [4.0, 5.0]},
            'disc_gap': {2: [0.0, 1.0], 4: [0.0, 1.0]},
        }
        assert picture.find_floor({'disp-plain': curves}, 'kid (pixels)') is None
        floors = {'kid_floor (pixels)': {2: [1.0, 1.0], 4: [4.0]}}
        both = {'disp-plain': curves, 'per_image-plain': floors}
        assert picture.find_floor(both, 'kid (pixels)') == 2.0
        assert picture.find_floor(both, 'disc_gap') is None


def test_a_mistaken_argument_is_told_without_importing_torch(repo_root):
    import subprocess
    import sys

    code = (
        'import sys; sys.argv = ["compare.py", "x.py", "--jobs", "0"]\n'
        'try:\n    import compare; compare.main()\n'
        'finally:\n    print("torch" in sys.modules)'
    )
    environment = {'PYTHONPATH': f'{repo_root}:{repo_root / "tools"}', 'PATH': ''}
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=environment
    )
    assert '--jobs must be at least 1' in done.stderr and done.stdout.strip() == 'False'
