"""One small run by tools/train.py that the tests of several tools look at."""

from types import SimpleNamespace

import pytest

ENCODER = (
    "encoder=dict(type='CheckpointEncoder', arch='timm/resnet18', untrained=True, in_size=16, "
    'arch_kwargs=dict(channels=[16, 32, 64, 128]))'
)


@pytest.fixture(scope='session')
def small_run(repo_root, digits_folder, tmp_path_factory):
    """Command line of a small run of the digits' config: 4 iterations, a checkpoint every 2."""
    folder = tmp_path_factory.mktemp('run')
    bank_file = folder / 'bank.safetensors'

    def arguments(work_dir, *options, flags=()):
        return [
            str(repo_root / 'configs' / 'disp_biggan_digits.py'),
            '--work-dir',
            str(work_dir),
            *flags,
            '--cfg-options',
            f'data_root={digits_folder}',
            f'bank_file={bank_file}',
            'batch_size=4',
            'max_iters=4',
            'default_hooks.checkpoint.interval=2',
            'default_hooks.checkpoint.max_keep_ckpts=3',
            'model.generator.base_channels=4',
            'model.discriminator.discriminator.base_channels=4',
            'model.ema_config.start_iter=0',
            f'experiment_name={work_dir.name}',
            ENCODER,
            *options,
        ]

    return SimpleNamespace(arguments=arguments, folder=folder, bank_file=bank_file)


@pytest.fixture(scope='session')
def train(tool):
    return tool('train.py')


@pytest.fixture(scope='session')
def trained(train, small_run):
    """The folder of that run, trained."""
    work_dir = small_run.folder / 'trained'
    train.main(small_run.arguments(work_dir))
    return work_dir


@pytest.fixture(scope='session')
def use(tool, trained, tmp_path_factory):
    """A function (script, *options) -> the folder that it writes of the trained run."""

    def run(script, *options):
        folder = tmp_path_factory.mktemp('used') / 'out'
        tool(script).main([str(trained), '--out', str(folder), *map(str, options)])
        return folder

    return run


@pytest.fixture
def refusal(capsys):
    """A function (main, *arguments) -> the message by which a tool refuses them."""

    def catch(main, *arguments):
        with pytest.raises(SystemExit) as stop:
            main(*arguments)
        assert stop.value.code == 2
        return capsys.readouterr().err

    return catch
