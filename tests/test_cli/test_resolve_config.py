"""Options reach every place that carries the field, and nothing else."""

import pytest
from mmengine.config import Config

import disp_plugin
from disp_plugin.cli.resolve_config import load_config, resolve_config

FOLDER_CONFIG = disp_plugin.base('disp_biggan_folder.py')

TEXT = """
data_root = 'data/a'
bank_file = 'data/a.safetensors'
image_size = 32
batch_size = 8
prior_dim = 512
encoder = dict(type='TorchvisionEncoder', model='vgg16', layer='fc7')
model = dict(prior_dim=prior_dim, generator=dict(output_scale=image_size, base_channels=8))
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        dataset=dict(
            data_root=data_root,
            pipeline=[
                dict(type='Resize', keys='gt', scale=(image_size, image_size)),
                dict(type='LoadPrior', bank_file=bank_file),
            ],
        )
    ),
)
val_dataloader = dict(batch_size=16, dataset=dict(data_root='data/held_out'))
custom_hooks = [dict(type='PriorSamplerHook', bank_file=bank_file, encoder=encoder)]
"""


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / 'my_config.py'
    path.write_text(TEXT)
    return path


def test_an_option_reaches_every_place_that_carries_the_field(config_file):
    options = {'data_root': 'photos', 'bank_file': 'b.safetensors', 'prior_dim': 7, 'batch_size': 3}
    cfg = load_config(config_file, options)
    dataset = cfg.train_dataloader.dataset.dataset
    assert cfg.data_root == dataset.data_root == 'photos'
    assert cfg.bank_file == dataset.pipeline[1].bank_file == 'b.safetensors'
    assert cfg.custom_hooks[0].bank_file == 'b.safetensors'
    assert cfg.prior_dim == cfg.model.prior_dim == 7
    assert cfg.train_dataloader.batch_size == 3


def test_a_place_with_a_value_of_its_own_keeps_it(config_file):
    cfg = load_config(config_file, {'data_root': 'photos', 'batch_size': 3})
    assert cfg.val_dataloader.dataset.data_root == 'data/held_out'
    assert cfg.val_dataloader.batch_size == 16


def test_the_image_size_reaches_models_and_transforms_in_their_own_form(config_file):
    cfg = load_config(config_file, {'image_size': 64})
    assert cfg.model.generator.output_scale == 64
    assert tuple(cfg.train_dataloader.dataset.dataset.pipeline[0].scale) == (64, 64)


def test_a_place_named_by_an_option_of_its_own_wins(config_file):
    options = {'prior_dim': 7, 'model.prior_dim': 512}
    assert load_config(config_file, options).model.prior_dim == 512


def test_another_encoder_type_drops_the_arguments_of_the_former(config_file):
    cfg = load_config(config_file, {'encoder.type': 'TimmEncoder', 'encoder.model': 'resnet18'})
    expected = dict(type='TimmEncoder', model='resnet18')
    assert cfg.encoder.to_dict() == cfg.custom_hooks[0].encoder.to_dict() == expected


def test_an_encoder_given_as_a_whole_replaces_the_former(config_file):
    cfg = load_config(config_file, {'encoder': dict(type='TorchvisionEncoder', model='resnet18')})
    expected = dict(type='TorchvisionEncoder', model='resnet18')
    assert cfg.encoder.to_dict() == cfg.custom_hooks[0].encoder.to_dict() == expected


def test_another_model_of_the_same_encoder_keeps_its_other_arguments(config_file):
    cfg = load_config(config_file, {'encoder.model': 'vgg19'})
    assert cfg.custom_hooks[0].encoder.to_dict() == dict(
        type='TorchvisionEncoder', model='vgg19', layer='fc7'
    )


def test_no_options_change_nothing(config_file):
    assert load_config(config_file).to_dict() == Config.fromfile(str(config_file)).to_dict()


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('modle.prior_dim', 'has no field modle; did you mean model?'),
        ('model.prior_dimm', 'has no field model.prior_dimm; did you mean model.prior_dim?'),
        ('data_rot', 'has no field data_rot; did you mean data_root?'),
        ('train_dataloader.num_worker', 'did you mean train_dataloader.num_workers?'),
        ('custom_hooks.3.bank_file', 'custom_hooks is a list of 1'),
        ('prior_dim.x', 'prior_dim is 512, which has no fields of its own'),
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
    ],
)
def test_fields_that_the_runner_knows_may_be_new(config_file, option):
    node = load_config(config_file, {option: 5})
    for part in option.split('.'):
        node = node[part]
    assert node == 5


def test_an_argument_of_the_class_may_be_new_and_a_mistyped_one_is_refused():
    import disp_plugin.register  # noqa: F401

    cfg = Config(dict(custom_hooks=[dict(type='CheckpointHook', interval=1)]))
    assert resolve_config(cfg, {'custom_hooks.0.max_keep_ckpts': 2}).custom_hooks[0].max_keep_ckpts
    with pytest.raises(ValueError, match=r'did you mean custom_hooks\.0\.max_keep_ckpts\?'):
        resolve_config(cfg, {'custom_hooks.0.max_keep_ckpt': 2})


def test_a_missing_config_names_the_nearest_file(config_file):
    with pytest.raises(FileNotFoundError, match=r'did you mean .*my_config\.py\?'):
        load_config(config_file.with_name('my_confg.py'))


def test_a_syntax_error_names_file_and_line(config_file):
    config_file.write_text('a = 1\nb = = 2\n')
    with pytest.raises(ValueError, match=r'my_config\.py: .* in line 2'):
        load_config(config_file)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a = no_such_name', r"my_config\.py: name 'no_such_name' is not defined"),
        ("_base_ = 'base.py'\nmodel = dict(a=1)", r'my_config\.py: .*set `_delete_=True`'),
    ],
)
def test_a_config_that_cannot_be_read_names_its_file(config_file, text, message):
    config_file.with_name('base.py').write_text('model = None')
    config_file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_config(config_file)


def test_sizes_are_chosen_from_the_images_but_what_the_user_says_wins(
    config_file, make_image_folder, capsys
):
    folder = make_image_folder(config_file.parent / 'photos', num=20, size=70)
    text = TEXT + 'max_iters = 5\ntrain_cfg = dict(max_iters=max_iters)\nsized_by_data = True\n'
    config_file.write_text(text)
    options = {'data_root': str(folder), 'max_iters': 123}
    cfg = load_config(config_file, options)
    assert cfg.train_dataloader.batch_size == cfg.batch_size == 16
    assert cfg.train_cfg.max_iters == 123
    assert cfg.model.generator.output_scale == cfg.image_size
    assert cfg.custom_hooks[0].bank_file == cfg.bank_file
    assert cfg.bank_file.startswith(f'data/photos_{cfg.image_size}px_vgg16_')
    said = capsys.readouterr().out
    assert '20 images' in said
    assert 'max_iters=123: as you said' in said
    assert 'batch_size=16: the largest power of two not above 20 images' in said


def test_a_field_of_an_inheriting_file_reaches_what_its_base_says(
    config_file, make_image_folder, capsys
):
    """As docs/downstream.md shows it, through two files, beside a config that sizes itself."""
    folder = make_image_folder(config_file.parent / 'photos', num=20, size=70)
    first = config_file.with_name('first.py')
    first.write_text(
        "_base_ = [__import__('disp_plugin').base('disp_biggan_folder.py')]\n"
        f'data_root = {str(folder)!r}\nbatch_size = 5\n'
    )
    second = config_file.with_name('second.py')
    second.write_text("_base_ = ['first.py']\nbank_file = 'mine.safetensors'\n")
    cfg = load_config(second)
    assert cfg.train_dataloader.dataset.dataset.data_root == str(folder)
    assert cfg.train_dataloader.batch_size == 5
    assert cfg.custom_hooks[0].bank_file == 'mine.safetensors'
    pipeline = cfg.train_dataloader.dataset.dataset.pipeline
    assert [t.bank_file for t in pipeline if t.type == 'LoadPrior'] == ['mine.safetensors']
    assert 'batch_size=5: as you said' in capsys.readouterr().out
    assert cfg.train_cfg.max_iters == cfg.max_iters


def test_folders_and_encoders_of_one_name_get_banks_of_their_own(config_file, make_image_folder):
    names = set()
    for parent, encoder in (('a', {}), ('b', {}), ('b', {'encoder.layer': 'logits'})):
        folder = make_image_folder(config_file.parent / parent / 'photos', num=4, size=40)
        cfg = load_config(
            FOLDER_CONFIG,
            {'data_root': str(folder), **encoder},
        )
        names.add(cfg.bank_file)
    assert len(names) == 3


def test_images_with_endings_in_capitals_count(config_file, make_image_folder):
    folder = make_image_folder(config_file.parent / 'camera', num=4, size=40)
    for file in folder.glob('*.png'):
        file.rename(file.with_suffix('.PNG'))
    assert load_config(FOLDER_CONFIG, {'data_root': str(folder)}).batch_size == 4


SAMPLERS = [
    {'model.sampler': dict(type='GMMPriorSampler', num_components=20)},
    {'model.sampler.type': 'GMMPriorSampler', 'model.sampler.num_components': 20},
]


@pytest.mark.parametrize('options', SAMPLERS, ids=['whole', 'by_fields'])
def test_another_sampler_drops_the_arguments_of_the_former(options, repo_root):
    cfg = load_config(repo_root / 'configs/disp_biggan_digits.py', options)
    expected = dict(type='GMMPriorSampler', num_components=20)
    assert cfg.model.sampler.to_dict() == expected


def test_a_sampler_of_an_inheriting_file_needs_no_more_than_its_type(repo_root, tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(
        f"_base_ = ['{repo_root}/configs/disp_biggan_digits.py']\n"
        "model = dict(sampler=dict(type='KMeansPriorSampler', seed=3))\n"
    )
    cfg = load_config(file)
    assert cfg.model.sampler.to_dict() == dict(type='KMeansPriorSampler', seed=3)


def test_arguments_that_both_samplers_take_are_those_of_the_file(repo_root, tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(
        f"_base_ = ['{repo_root}/configs/disp_biggan_cifar10_vgg16_gmm.py']\n"
        "model = dict(sampler=dict(type='KMeansPriorSampler', num_components=50))\n"
    )
    sampler = load_config(file).model.sampler
    assert 'covariance_type' not in sampler
    assert (sampler.num_components, sampler.fit_subset) == (50, 200000)
