"""What is settled before a run starts is settled for real."""

import os
import shutil
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.optim import build_optim_wrapper
from torch import nn

import disp_plugin.register  # noqa: F401
import tests.gans
from disp_plugin import distributed
from disp_plugin.cli import prepare_run
from disp_plugin.cli.config import load_config
from disp_plugin.cli.prepare_run import (
    check_sizes,
    check_space,
    estimate_checkpoint_bytes,
    find_stylegan2_networks,
)


def gan_config(**fields):
    optimizer = dict(type='Adam', lr=1e-3)
    wrapper = dict(
        constructor='MultiOptimWrapperConstructor',
        generator=dict(optimizer=dict(optimizer)),
        discriminator=dict(optimizer=dict(optimizer)),
    )
    return Config(dict(optim_wrapper=wrapper, **fields))


def test_a_precision_is_what_the_runner_builds_for_generator_and_discriminator():
    cfg = gan_config()
    cfg.optim_wrapper.generator.update(type='AmpOptimWrapper', loss_scale=128.0, dtype='float16')
    prepare_run.set_precision(cfg, 'bfloat16')
    assert cfg.optim_wrapper.generator.loss_scale == 128.0
    prepare_run.set_precision(cfg, 'bfloat16')  # once more
    gan = nn.Module()
    gan.generator, gan.discriminator = nn.Linear(2, 2), nn.Linear(2, 2)
    wrappers = build_optim_wrapper(gan, cfg.optim_wrapper)
    assert {(name, type(w).__name__, w.precision) for name, w in wrappers.items()} == {
        ('generator', 'PrecisionOptimWrapper', 'bfloat16'),
        ('discriminator', 'PrecisionOptimWrapper', 'bfloat16'),
    }
    single = Config(dict(optim_wrapper=dict(optimizer=dict(type='Adam', lr=1e-3))))
    prepare_run.set_precision(single, 'float32')
    assert build_optim_wrapper(gan, single.optim_wrapper).precision == 'float32'


def test_a_precision_for_a_foreign_wrapper_is_refused():
    cfg = gan_config()
    cfg.optim_wrapper.generator.type = 'ApexOptimWrapper'
    with pytest.raises(ValueError, match="generator the type 'ApexOptimWrapper'; leave --prec"):
        prepare_run.set_precision(cfg, 'auto')


def test_the_work_folder_is_the_argument_then_the_config_then_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prepare_run.prepare_work_dir(Config(dict(work_dir='b')), 'a', 'x/c.py') == 'a'
    assert prepare_run.prepare_work_dir(Config(dict(work_dir='b')), None, 'x/c.py') == 'b'
    cfg = Config(dict())
    assert prepare_run.prepare_work_dir(cfg, None, 'x/c.py') == 'work_dirs/c' == cfg.work_dir
    assert os.listdir('a') == []  # the trial leaves nothing behind


def test_a_file_in_the_way_of_the_work_folder_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match=r'/file is a file; choose another by --work-dir'):
        prepare_run.prepare_work_dir(Config(dict()), str(tmp_path / 'file' / 'run'), 'c.py')


def test_a_full_device_is_refused_before_training(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=3 * 2**20)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage)
    with pytest.raises(ValueError, match='has 3 MiB of free space, but checkpoints need'):
        prepare_run.prepare_work_dir(Config(dict()), str(tmp_path / 'run'), 'c.py')


def without_privileges(folder, answer):
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        prepare_run.prepare_work_dir(Config(dict()), str(folder / 'run'), 'c.py')
    except ValueError as error:
        answer.put(str(error))
    else:
        answer.put('no error')


def test_a_work_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    context = get_context('fork')
    answer = context.Queue()
    process = context.Process(target=without_privileges, args=(tmp_path, answer))
    process.start()
    message = answer.get(timeout=30)
    process.join()
    tmp_path.chmod(0o755)
    assert 'no permission to write to the work folder' in message
    assert 'choose another by --work-dir' in message


def dataset_config(folder):
    dataset = dict(type='ImageFolderDataset', data_root=str(folder), bank_file='none.safetensors')
    loader = dict(dataset=dict(type='SeededDraws', dataset=dataset))
    return Config(dict(model={}, train_dataloader=loader))


def test_the_training_images_are_counted_below_wrappers(image_folder):
    assert prepare_run.check_training_set(dataset_config(image_folder)) == 8


def test_one_image_is_refused_in_so_many_words(tmp_path, make_image_folder):
    folder = make_image_folder(tmp_path / 'one', num=1)
    with pytest.raises(ValueError, match='holds 1 training image, but a GAN needs at least 2'):
        prepare_run.check_training_set(dataset_config(folder))


def test_what_is_odd_about_the_images_is_told_with_their_names(tmp_path, make_image_folder, capsys):
    folder = make_image_folder(tmp_path / 'photos', num=3)
    for index in range(23):
        shutil.copy(folder / 'image_0000.png', folder / f'copy_{index:02d}.png')
    assert prepare_run.check_training_set(dataset_config(folder)) == 26
    printed = capsys.readouterr()
    told = printed.out + printed.err
    assert f'23 of 26 images of {folder} are copies of others' in told
    assert 'copy_00.png = copy_01.png = copy_02.png = ...' in told and 'WARNING' in told


@pytest.mark.parametrize('name', ['empty', 'missing'])
def test_an_empty_or_missing_folder_is_named(tmp_path, name):
    (tmp_path / 'empty').mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=name):
        prepare_run.check_training_set(dataset_config(tmp_path / name))


def bank_config(folder, bank_file, **fields):
    dataset = dict(type='ImageFolderDataset', data_root=str(folder), bank_file=bank_file)
    return Config(dict(encoder=dict(type='X'), train_dataloader=dict(dataset=dataset), **fields))


def test_a_missing_bank_is_built_or_refused(tmp_path, monkeypatch):
    bank_file = tmp_path / 'bank.safetensors'
    cfg = bank_config(tmp_path, 'bank.safetensors')
    with pytest.raises(FileNotFoundError, match=r'does not exist; build it with tools/build_prior'):
        prepare_run.ensure_bank(cfg, build=False)
    monkeypatch.setattr(prepare_run, '_build', lambda cfg, file: bank_file.write_text('built'))
    assert prepare_run.ensure_bank(cfg) == bank_file
    assert bank_file.read_text() == 'built'


def test_an_existing_bank_is_left_alone_and_none_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_run, '_build', lambda *_: pytest.fail('built again'))
    (tmp_path / 'bank').write_text('')
    assert prepare_run.ensure_bank(bank_config(tmp_path, 'bank')) == tmp_path / 'bank'
    assert prepare_run.ensure_bank(bank_config(tmp_path, None)) is None


def test_a_bank_in_a_pipeline_must_have_been_built_from_a_stated_view(tmp_path, make_image_folder):
    image_folder = make_image_folder(tmp_path / 'flat')
    steps = [dict(type='LoadImageFromFile', key='gt'), dict(type='LoadPrior', bank_file='b')]
    dataset = dict(type='BasicImageDataset', ann_file='', data_prefix=dict(gt=''))
    dataset |= dict(data_root=str(image_folder), metainfo=dict(dataset_type='x', task_name='x'))
    cfg = bank_config(image_folder, None)
    cfg.train_dataloader.dataset = dict(dataset, pipeline=steps)
    assert prepare_run.find_bank_file(cfg) == Path('b')
    with pytest.raises(ValueError, match='build_prior_bank.py --images FOLDER --image-size'):
        prepare_run.ensure_bank(cfg)


def test_images_of_a_pipeline_are_measured_before_the_bank_is_built(tmp_path, make_image_folder):
    image_folder = make_image_folder(tmp_path / 'flat')
    steps = [
        dict(type='LoadImageFromFile', key='img'),
        dict(type='Resize', scale=(48, 48), keys='img'),
        dict(type='LoadPrior', bank_file='b'),
        dict(type='PackInputs'),
    ]
    dataset = dict(type='BasicImageDataset', ann_file='', data_prefix=dict(img=''), pipeline=steps)
    dataset |= dict(data_root=str(image_folder), metainfo=dict(dataset_type='x', task_name='x'))
    cfg = bank_config(image_folder, None, model=tests.gans.gan_config('sngan'))
    cfg.train_dataloader.dataset = dataset
    with pytest.raises(ValueError, match='32 x 32 px, but the size of the training images is 48 x'):
        prepare_run.check_training_set(cfg)


def test_without_an_encoder_a_missing_bank_is_refused(tmp_path):
    cfg = bank_config(tmp_path, 'bank')
    cfg.encoder = None
    with pytest.raises(ValueError, match='has no encoder to build it with'):
        prepare_run.ensure_bank(cfg)


def test_the_per_image_baseline_needs_a_prior_for_each_image(image_folder):
    cfg = dataset_config(image_folder)
    cfg.model = dict(per_image=True, prior_dim=7, sampler=dict(type='PerImageSampler'))
    with pytest.raises(ValueError, match='model.prior_dim=8, the number of training images'):
        prepare_run.check_training_set(cfg)


def test_only_rank_0_builds_and_the_others_wait_for_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    bank_file = tmp_path / 'bank.safetensors'
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        bank_file.write_text('built by rank 0')

    monkeypatch.setattr(distributed.time, 'sleep', sleep)
    monkeypatch.setattr(prepare_run, '_build', lambda *_: pytest.fail('rank 1 built'))
    assert prepare_run.ensure_bank(bank_config(tmp_path, bank_file.name)) == bank_file
    assert len(naps) == 1


def test_a_part_of_a_config_is_told_from_a_run():
    with pytest.raises(
        ValueError, match=r'x\.py describes no training run: it has no model, train'
    ):
        prepare_run.check_is_a_run(Config(dict(optim_wrapper=dict())), 'x.py')
    whole = dict(model={}, train_dataloader={}, train_cfg={}, optim_wrapper={})
    prepare_run.check_is_a_run(Config(whole), 'x.py')


@pytest.fixture
def check(repo_root):
    """A function: name of a config, options -> the networks that passed the check."""

    def run(name, **options):
        cfg = load_config(repo_root / f'configs/{name}.py', options)
        check_sizes(cfg)
        return find_stylegan2_networks(cfg.model)

    return run


@pytest.mark.parametrize('batch', [1, 3, 4, 8, 20])
def test_batches_that_fill_their_groups_pass(check, batch):
    assert len(check('disp_stylegan2_digits', batch_size=batch)) == 2


def test_other_batches_are_refused_with_the_nearest(check):
    with pytest.raises(ValueError, match='batch_size is 6.* set batch_size to 4 or 8'):
        check('disp_stylegan2_digits', batch_size=6)
    group = {'model.discriminator.discriminator.mbstd_cfg': dict(group_size=6)}
    check('disp_stylegan2_digits', batch_size=6, **group)
    with pytest.raises(ValueError, match='in groups of 6'):
        check('disp_stylegan2_digits', batch_size=8, **group)


def test_image_sizes_without_layers_are_refused(check):
    with pytest.raises(ValueError, match='for images of 48 px; set image_size to one of 8, 16'):
        check('disp_stylegan2_digits', image_size=48)


def test_other_gans_are_left_alone(check):
    assert check('disp_biggan_digits', batch_size=6) == []


def test_model_and_images_of_two_sizes_are_refused(check):
    options = {'model.image_size': 32}
    with pytest.raises(ValueError, match='image_size is 32 but .*16 px; --cfg-options image_size'):
        check('disp_biggan_digits', **options)


@pytest.fixture
def runner(tmp_path):
    model = nn.Sequential(nn.Linear(1000, 1000), nn.BatchNorm1d(1000))
    hook = CheckpointHook(interval=10, by_epoch=False, max_keep_ckpts=3)
    return SimpleNamespace(model=model, hooks=[hook], work_dir=str(tmp_path), max_iters=100)


def set_free(monkeypatch, num_bytes):
    usage = shutil.disk_usage('/')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage._replace(free=int(num_bytes)))


def test_the_estimate_is_the_size_of_the_file(runner, tmp_path):
    model = runner.model
    model[1].requires_grad_(False)
    optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
    model(torch.randn(4, 1000)).sum().backward()
    optimizer.step()
    torch.save([model.state_dict(), optimizer.state_dict()], tmp_path / 'x.pth')
    size = (tmp_path / 'x.pth').stat().st_size
    assert estimate_checkpoint_bytes(model) == pytest.approx(size, rel=0.01)


def test_no_room_for_two_checkpoints_is_an_error(runner, monkeypatch):
    each = estimate_checkpoint_bytes(runner.model)
    set_free(monkeypatch, 1.9 * each)
    with pytest.raises(ValueError, match=r'takes about 11 MiB.*has 22 MiB.*--work-dir'):
        check_space(runner)


def test_room_for_fewer_than_are_kept_is_a_warning(runner, monkeypatch):
    said = []
    monkeypatch.setattr(
        'disp_plugin.cli.prepare_run.print_log', lambda text, **kwargs: said.append(text)
    )
    each = estimate_checkpoint_bytes(runner.model)
    set_free(monkeypatch, 4.1 * each)
    check_space(runner)
    assert said == []
    set_free(monkeypatch, 3.9 * each)
    check_space(runner)
    assert len(said) == 1 and '3 are kept' in said[0]
    runner.hooks[0].max_keep_ckpts = -1
    set_free(monkeypatch, 10.9 * each)
    check_space(runner)
    assert '10 are kept' in said[1]


def test_a_run_that_saves_nothing_needs_no_room(runner, monkeypatch):
    set_free(monkeypatch, 0)
    with pytest.raises(ValueError):
        check_space(runner)
    for hooks in ([], [CheckpointHook(interval=-1, by_epoch=False)]):
        runner.hooks = hooks
        assert check_space(runner) is None


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'model.pretrained.checkpoint': 'page.pth'}, 'page.pth is a web page'),
        ({'model.pretrained.checkpoint': 'none.pth'}, "'none.pth', and there is no such file"),
        ({'model.pretrained.checkpoint': 'biggan'}, "no model of mmagic's zoo"),
        ({'load_from': 'page.pth'}, 'page.pth is a web page'),
    ],
)
def test_weights_to_start_from_are_read_before_any_work(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'page.pth').write_text('<html>')
    cfg = Config(dict(model=dict(type='DISPSNGAN')))
    prepare_run.check_weights(cfg)
    cfg.merge_from_dict(options)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare_run.check_weights(cfg)


def test_cells_that_no_hook_would_find_are_refused(repo_root):
    options = {'custom_hooks': [dict(type='PriorSamplerHook')]}
    file = repo_root / 'configs/disp_sngan_digits.py'
    with pytest.raises(ValueError, match=r"lack dict\(type='SelfConditionedHook'\)"):
        prepare_run.check_parts(load_config(file, options, 'self_conditioned'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'custom_hooks': [dict(type='FiniteHook')]}, "custom_hooks lack dict.type='PriorSampler"),
        ({'custom_hooks': [dict(type='EarlyStoppingHook', monitor='x')]}, 'Cannot infer the rule'),
        ({'default_hooks.checkpoint.published_keys': 5}, 'default_hooks.checkpoint of the config'),
        (
            {'default_hooks.visualization.vis_kwargs_list': dict(type='FixedPrior')},
            "vis_kwargs_list.type is 'FixedPrior'; it must be one of .*FixedPriors",
        ),
        (
            {'param_scheduler': dict(generatr=[dict(type='ConstantLR', by_epoch=False)])},
            'param_scheduler is for generatr, but the optimizers are generator, discriminator',
        ),
        (
            {'param_scheduler': dict(type='LinearLR', start_factor=5, by_epoch=False)},
            'factor should between 0 and 1',
        ),
    ],
)
def test_what_the_runner_would_build_late_is_built_early(repo_root, options, message):
    cfg = load_config(repo_root / 'configs/disp_sngan_digits.py', options)
    with pytest.raises(ValueError, match=message):
        prepare_run.check_parts(cfg)


def test_the_loader_is_tried_before_the_bank_is_built(repo_root, image_folder):
    options = {'data_root': str(image_folder), 'ann_file': ''}
    file = repo_root / 'configs/disp_sngan_digits.py'
    prepare_run.check_training_set(load_config(file, options))
    with pytest.raises(ValueError, match='persistent_workers option needs num_workers > 0'):
        prepare_run.check_training_set(
            load_config(file, {**options, 'train_dataloader.persistent_workers': True})
        )


def test_an_encoder_of_another_length_is_told_before_the_bank_is_built(
    repo_root, image_folder, tmp_path
):
    options = dict(encoder=dict(type='PixelEncoder', size=4), bank_file=str(tmp_path / 'bank'))
    options |= {'data_root': str(image_folder), 'ann_file': ''}
    cfg = load_config(repo_root / 'configs/disp_sngan_digits.py', options)
    with pytest.raises(ValueError, match='prior_dim is 128 but the encoder gives 16-d priors'):
        prepare_run.ensure_bank(cfg)
    assert not list(tmp_path.glob('*bank*'))
