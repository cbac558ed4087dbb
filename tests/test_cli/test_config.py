"""Options, methods and techniques reach every place that they stand for, and nothing else."""

import argparse

import pytest
from mmengine.config import Config

import disp_plugin.register  # noqa: F401
from disp_plugin.cli.choose_schedule import choose_options
from disp_plugin.cli.config import load_config, merge_options
from disp_plugin.cli.options import add_shared
from disp_plugin.settings import find_bank_file
from disp_plugin.signals import STOP, Stopped

TEXT = """
encoder = dict(type='TorchvisionEncoder', model='vgg16', layer='fc7')
model = dict(
    prior_dim=512, image_size=32, prior_norm='centered_l2', generator=dict(base_channels=8),
    sampler=dict(type='VicinalMixSampler', alpha=1.0))
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type='ImageFolderDataset', data_root='data/a', image_size=32, bank_file='a.safetensors'))
val_dataloader = dict(batch_size=16, dataset=dict(data_root='data/held_out', image_size=32))
train_cfg = dict(max_iters=5)
custom_hooks = [dict(type='PriorSamplerHook')]
"""


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / 'my_config.py'
    path.write_text(TEXT)
    return path


def test_a_short_name_reaches_every_place_that_it_stands_for(config_file):
    options = {'data_root': 'photos', 'bank_file': 'b.safetensors', 'prior_dim': 7, 'batch_size': 3}
    cfg = load_config(config_file, {**options, 'image_size': 64, 'max_iters': 9})
    dataset = cfg.train_dataloader.dataset
    assert (dataset.data_root, dataset.bank_file) == ('photos', 'b.safetensors')
    assert cfg.model.image_size == dataset.image_size == 64
    assert (cfg.model.prior_dim, cfg.train_dataloader.batch_size) == (7, 3)
    assert cfg.train_cfg.max_iters == 9
    assert set(cfg) == set(load_config(config_file))


@pytest.mark.parametrize('text', ['100', '2024', '1e5', 'true', 'None', 'a,b', '1_000', 'nan'])
def test_text_stays_text_where_a_path_or_a_name_is_taken(config_file, text):
    names = ['data_root', 'ann_file', 'work_dir', 'model.loss', 'encoder.model']
    given = [f'{name}={text}' for name in names]
    parser = argparse.ArgumentParser()
    add_shared(parser, '--cfg-options')
    config_file.write_text(TEXT.replace('prior_dim=512', "type='DISPBigGAN', prior_dim=512"))
    cfg = load_config(config_file, parser.parse_args(['--cfg-options', *given]).cfg_options)
    dataset = cfg.train_dataloader.dataset
    found = [dataset.data_root, dataset.ann_file, cfg.work_dir, cfg.model.loss, cfg.encoder.model]
    assert found == [text] * len(names)


def test_options_of_other_fields_are_read_as_their_values(config_file, monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    parser = argparse.ArgumentParser()
    add_shared(parser, '--cfg-options')
    given = ['bank_file=None', 'batch_size=3', 'data_root=~/photos', 'flip=true', 'max_iters=1e5']
    given += ["encoder=dict(type='CheckpointEncoder', checkpoint='~/x.pth')"]
    cfg = load_config(config_file, parser.parse_args(['--cfg-options', *given]).cfg_options)
    dataset = cfg.train_dataloader.dataset
    assert dataset.bank_file is None and dataset.flip is True
    assert dataset.data_root == '/home/me/photos'
    assert cfg.encoder.checkpoint == '/home/me/x.pth'
    assert cfg.train_dataloader.batch_size == 3
    assert repr(cfg.train_cfg.max_iters) == '100000'
    with pytest.raises(ValueError, match=r'--cfg-options custom_hooks: .* is no value'):
        load_config(
            config_file,
            parser.parse_args(['--cfg-options', 'custom_hooks=[f(a, "b")]']).cfg_options,
        )


def test_data_sets_of_validation_follow_only_what_they_shared(config_file):
    cfg = load_config(config_file, {'data_root': 'photos', 'image_size': 64, 'batch_size': 3})
    assert cfg.val_dataloader.dataset == dict(data_root='data/held_out', image_size=64)
    assert cfg.val_dataloader.batch_size == 16


def test_the_white_level_reaches_all_folders_of_images(config_file):
    option = {'white_level': 4095}
    cfg = load_config(config_file, option)
    assert cfg.train_dataloader.dataset.white_level == 4095
    assert 'white_level' not in cfg.val_dataloader.dataset  # which does not say what it is
    text = TEXT.replace("dict(data_root='data/held", "dict(type='ImageFolderDataset', data_root='d")
    config_file.write_text(text)
    assert load_config(config_file, option).val_dataloader.dataset.white_level == 4095


def test_a_manifest_as_data_root_stands_for_its_folder_and_itself(config_file, tmp_path):
    (tmp_path / 'few.txt').write_text('a.png')
    cfg = load_config(config_file, {'data_root': str(tmp_path / 'few.txt')})
    dataset = cfg.train_dataloader.dataset
    assert (dataset.data_root, dataset.ann_file) == (str(tmp_path), 'few.txt')
    assert find_bank_file(cfg) == tmp_path / dataset.bank_file
    with pytest.raises(ValueError, match=r'few\.txt is a file .* or leave ann_file out'):
        load_config(config_file, {'data_root': str(tmp_path / 'few.txt'), 'ann_file': ''})
    dataset.update(data_root=str(tmp_path / 'few.txt'), ann_file='')  # as a file may say it
    assert find_bank_file(cfg) == tmp_path / dataset.bank_file


def test_a_whole_path_wins_over_a_short_name(config_file):
    cfg = load_config(config_file, {'model.image_size': 16, 'image_size': 64})
    assert (cfg.model.image_size, cfg.train_dataloader.dataset.image_size) == (16, 64)


def test_a_wrapped_data_set_and_a_bank_in_a_pipeline_are_found():
    inner = dict(data_root='a', pipeline=[dict(type='Flip'), dict(type='LoadPrior', bank_file='a')])
    loader = dict(dataset=dict(type='SeededDraws', dataset=inner))
    cfg = Config(dict(train_dataloader=loader))
    merge_options(cfg, {'data_root': 'b', 'bank_file': 'c'})
    inner = cfg.train_dataloader.dataset.dataset
    assert (inner.data_root, inner.pipeline[1].bank_file) == ('b', 'c')
    assert 'bank_file' not in inner


PART = {
    'encoder': ({'type': 'TimmEncoder', 'model': 'resnet18'}, {'model': 'vgg19'}),
    'model.sampler': ({'type': 'GMMPriorSampler', 'num_components': 20}, {'alpha': 0.5}),
}


@pytest.mark.parametrize('part', PART)
def test_another_type_drops_the_arguments_of_the_former(config_file, part):
    whole, field = PART[part]
    for options in ({part: whole}, {f'{part}.{key}': value for key, value in whole.items()}):
        cfg = load_config(config_file, options)
        found = cfg.encoder if part == 'encoder' else cfg.model.sampler
        assert found.to_dict() == whole
    cfg = load_config(config_file, {f'{part}.{key}': value for key, value in field.items()})
    found = cfg.encoder if part == 'encoder' else cfg.model.sampler
    assert found['type'] in TEXT and {**found, **field} == found


def test_a_dict_replaces_none_and_a_field_of_none_is_refused(config_file):
    config_file.write_text(TEXT + 'encoder = None\n')
    encoder = dict(type='TimmEncoder', model='resnet18')
    assert load_config(config_file, {'encoder': encoder}).encoder.to_dict() == encoder
    with pytest.raises(ValueError, match='encoder is a dict in the child config'):
        load_config(config_file, {'encoder.layer': 'logits'})


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('modle.prior_dim', 'has no field modle; did you mean model?'),
        ('data_rot', 'has no field data_rot; did you mean data_root?'),
        ('train_dataloader.num_worker', 'did you mean train_dataloader.num_workers?'),
        ('custom_hooks.3.bank_file', 'custom_hooks is a list of 1'),
        ('model.prior_dim.x', 'model.prior_dim is 512, which has no fields of its own'),
    ],
)
def test_a_mistyped_option_is_refused_with_the_nearest_field(config_file, option, message):
    with pytest.raises(ValueError) as error:
        load_config(config_file, {option: 1})
    assert f'--cfg-options {option}' in str(error.value)
    assert 'my_config.py' in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    'option',
    [
        'work_dir',
        'randomness.seed',
        'train_dataloader.num_workers',
        'default_hooks.mine',
        'load_from',
        'flip',
    ],
)
def test_fields_that_something_reads_may_be_new(config_file, option):
    value = dict(type='FiniteHook') if option == 'default_hooks.mine' else 1
    node = load_config(config_file, {option: value})
    for part in option.replace('flip', 'train_dataloader.dataset.flip').split('.'):
        node = node[part]
    assert node == value


def test_an_argument_of_the_class_may_be_new_and_a_mistyped_one_is_refused():
    cfg = Config(dict(custom_hooks=[dict(type='CheckpointHook', interval=1)]))
    assert merge_options(cfg, {'custom_hooks.0.max_keep_ckpts': 2}).custom_hooks[0].max_keep_ckpts
    with pytest.raises(ValueError, match=r'did you mean custom_hooks\.0\.max_keep_ckpts\?'):
        merge_options(cfg, {'custom_hooks.0.max_keep_ckpt': 2})


def test_a_missing_config_names_the_nearest_file(config_file):
    with pytest.raises(FileNotFoundError, match=r'did you mean .*my_config\.py\?'):
        load_config(config_file.with_name('my_confg.py'))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a = 1\nb = = 2\n', r'my_config\.py: .* in line 2'),
        ('a = no_such_name', r"my_config\.py: name 'no_such_name' is not defined"),
        ("_base_ = 'base.py'\nmodel = dict(a=1)", r'my_config\.py: .*set `_delete_=True`'),
        ('a = 1 / 0', r'my_config\.py: ZeroDivisionError: division by zero'),
        ("raise RuntimeError('no')", r'my_config\.py: RuntimeError: no'),
        ("a = dict()['b']", r"my_config\.py: KeyError: 'b'"),
        ("_base_ = ['base.py', 'other.py']", r'my_config\.py: KeyError: .*Duplicate key'),
        pytest.param(
            "_base_ = 'my_config.py'", r'my_config\.py inherits itself', marks=pytest.mark.slow
        ),
        ('model = 5', r'model of my_config\.py must be a dict, but is 5'),
        ('train_dataloader = [1]', r'train_dataloader of my_config\.py must be a dict'),
        ('custom_hooks = 1', r'custom_hooks of my_config\.py must be a dict or a list, but is 1'),
    ],
)
def test_a_config_that_cannot_be_read_names_its_file(config_file, text, message):
    for name in ('base.py', 'other.py'):
        config_file.with_name(name).write_text('model = None')
    config_file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_config(config_file)


def test_a_signal_while_a_config_is_read_is_no_fault_of_the_config(config_file):
    config_file.write_text("__import__('signal').raise_signal(15)")
    with pytest.raises(Stopped), STOP.caught():
        load_config(config_file)


def test_a_file_of_another_kind_and_a_missing_base_are_named(config_file):
    other = config_file.with_name('photos.txt')
    other.touch()
    with pytest.raises(ValueError, match=r'photos\.txt: a config is a \.py, \.yml'):
        load_config(other)
    config_file.write_text("_base_ = 'gone.py'")
    with pytest.raises(FileNotFoundError, match=r'my_config\.py needs .*gone\.py'):
        load_config(config_file)
    with pytest.raises(FileNotFoundError, match='is a folder'):
        load_config(config_file.parent)


@pytest.mark.parametrize(
    ('line', 'place'),
    [
        ("data_root = 'mine'", "train_dataloader = dict(dataset=dict(data_root='mine'))"),
        ('batch_size = 16', 'train_dataloader = dict(batch_size=16)'),
        ('image_size = 64', 'model = dict(image_size=64) and train_dataloader = dict(dataset='),
    ],
)
def test_a_short_name_at_the_top_of_a_file_is_refused_with_its_place(config_file, line, place):
    mine, second = (config_file.with_name(name) for name in ('mine.py', 'second.py'))
    mine.write_text(f"_base_ = 'my_config.py'\n{line}\n")
    second.write_text("_base_ = ['mine.py']\n")
    for file in (mine, second):
        with pytest.raises(ValueError, match=r'at the top of .*\.py has no effect') as error:
            load_config(file)
        assert place in str(error.value)


def test_a_short_name_at_the_top_that_its_places_read_is_accepted(config_file):
    mine = config_file.with_name('mine.py')
    mine.write_text(
        "_base_ = 'my_config.py'\nbatch_size = 16\ntrain_dataloader = dict(batch_size=batch_size)\n"
    )
    assert load_config(mine).train_dataloader.batch_size == 16
    mine.write_text('data_root = 1\n' + TEXT)  # as mmengine writes a config into a work folder
    assert load_config(mine).data_root == 1


def test_what_mmagics_configs_repeat_at_their_top_is_accepted_and_follows(tmp_path):
    mine = tmp_path / 'mine.py'
    mine.write_text(
        "_base_ = ['mmagic::styleganv2/stylegan2_c2_8xb4-800kiters_ffhq-256x256.py']\n"
        "train_dataloader = dict(dataset=dict(data_root='photos'))\n"
        'val_dataloader = test_dataloader = None\n'
    )
    assert load_config(mine).data_root != 'photos'
    cfg = load_config(mine, {'data_root': 'others'})
    assert cfg.data_root == cfg.train_dataloader.dataset.data_root == 'others'


def test_a_method_takes_the_prior_out(config_file):
    cfg = load_config(config_file, method='unconditional')
    assert cfg.encoder is None and cfg.model.sampler is None
    assert cfg.model.prior_dim == 0 and cfg.model.prior_norm == 'none'
    assert cfg.train_dataloader.dataset.bank_file is None
    assert load_config(config_file, method='disp').to_dict() == load_config(config_file).to_dict()


def test_the_per_image_method_counts_images_and_keeps_the_length(config_file, image_folder):
    options = {'data_root': str(image_folder)}
    model = load_config(config_file, options, 'per_image').model
    assert model.per_image and model.prior_dim == 8
    assert model.per_image_scale == 512**0.5  # that of centered_l2
    assert model.sampler.to_dict() == dict(type='PerImageSampler')
    options['model.per_image_scale'] = 1.0
    assert load_config(config_file, options, 'per_image').model.per_image_scale == 1.0


def test_a_method_takes_the_bank_out_of_a_pipeline(tmp_path):
    file = tmp_path / 'theirs.py'
    file.write_text(
        "model = dict(prior_dim=4, sampler=dict(type='VicinalMixSampler'))\n"
        "steps = [dict(type='LoadImageFromFile'), dict(type='LoadPrior', bank_file='b')]\n"
        "dataset = dict(type='BasicImageDataset', data_root='a', pipeline=steps)\n"
        'train_dataloader = dict(batch_size=2, dataset=dataset)\n'
        'del steps, dataset\n'
    )
    dataset = load_config(file, method='unconditional').train_dataloader.dataset
    assert [step['type'] for step in dataset.pipeline] == ['LoadImageFromFile']
    assert 'bank_file' not in dataset


def test_techniques_add_up_and_a_mistyped_one_is_refused(config_file, tmp_path):
    config_file.write_text(TEXT + 'model_wrapper_cfg = dict(find_unused_parameters=False)\n')
    own = tmp_path / 'mine.py'
    own.write_text('mine = dict(model=dict(loss="wasserstein"))\n')
    cfg = load_config(config_file, techniques=['diffaug', 'consistency', str(own)])
    assert cfg.model.discriminator.augmentation.type == 'DiffAugment'
    assert cfg.model.disc_losses.consistency.loss_weight == 10.0
    assert cfg.model.loss == 'wasserstein'
    with pytest.raises(ValueError, match='--technique difaug: .* did you mean diffaug'):
        load_config(config_file, techniques=['difaug'])
    own.write_text('other = 1\n')
    with pytest.raises(ValueError, match='must define a dict mine'):
        load_config(config_file, techniques=[str(own)])


def test_sizes_are_chosen_for_the_images_but_what_the_user_says_wins(
    config_file, make_image_folder, capsys
):
    folder = make_image_folder(config_file.parent / 'photos', num=20, size=70)
    for file in folder.glob('*1.png'):
        file.rename(file.with_suffix('.PNG'))
    options = {'data_root': str(folder), 'train_cfg.max_iters': 123}
    cfg = load_config(config_file, options)
    chosen = choose_options(cfg, set(options))
    merge_options(cfg, chosen)
    assert cfg.train_dataloader.batch_size == 16
    assert cfg.train_cfg.max_iters == 123
    assert cfg.model.image_size == cfg.train_dataloader.dataset.image_size >= 32
    assert cfg.train_dataloader.dataset.bank_file.startswith('priors_')
    said = capsys.readouterr().out
    assert '20 images' in said
    assert 'max_iters=123: as you said' in said
    assert 'batch_size=16: the largest power of two not above 20 images' in said
    other = choose_options(
        load_config(config_file, {**options, 'encoder.layer': 'x'}), set(options)
    )
    assert other['bank_file'] != chosen['bank_file']
    assert 'bank_file' not in choose_options(cfg, {*options, 'bank_file'})
