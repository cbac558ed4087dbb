"""Configs mean one thing to every reader; each is trained shrunk, and each table row is built."""

import copy
import functools
import gc
import importlib.util
import inspect
import itertools
import re
import shlex
import sys
from pathlib import Path

import mmagic
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.runner import Runner

import disp_plugin.register  # noqa: F401  (patches mmagic, so the rest can be imported)
from disp_plugin.cli import prepare_run
from disp_plugin.cli.config import load_config, merge_options
from disp_plugin.evaluation.metric_card import read_cards
from disp_plugin.models.checkpoint_file import find_zoo_url
from tests.numerics import assert_close_to_scale

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
NAMES = sorted(path.stem for path in CONFIGS.glob('*.py'))
QUICK = {'disp_biggan_digits', 'disp_sngan_anime100_diffaug', 'disp_stylegan2_panda'}
STOCK = {
    'DISPSNGAN': 'mmagic::_base_/models/sngan_proj/base_sngan_proj_128x128.py',
    'DISPBigGAN': 'mmagic::_base_/models/biggan/base_biggan_128x128.py',
}
ENCODER = dict(
    type='CheckpointEncoder',
    arch='timm/resnet18',
    untrained=True,
    in_size=16,
    arch_kwargs=dict(channels=[4, 8, 8, 16]),
)
BATCH = 4


def read_commands(tool):
    """Commands of configs/paper/README.md in groups: each word of ``{a,b}`` in its place."""
    text = (CONFIGS / 'paper/README.md').read_text()
    groups = []
    for template in dict.fromkeys(re.findall(rf'`(tools/{tool}\.py [^`]*)`', text)):
        parts = re.split(r'\{([^}]*)\}', template)
        choices = [part.split(',') if i % 2 else [part] for i, part in enumerate(parts)]
        groups.append([''.join(words) for words in itertools.product(*choices)])
    return groups


COMMANDS = [command for group in read_commands('train') for command in group]
TRAINED = [group[-1] for group in read_commands('train')]
OTHERS = [group[0] for group in read_commands(r'(?!train\b)[\w/]+')]


@pytest.fixture(scope='module')
def images(tmp_path_factory, make_image_folder):
    """Six images with the manifests that the converters write."""
    folder = make_image_folder(tmp_path_factory.mktemp('images'), num=6, size=40)
    unseen = make_image_folder(folder / 'unseen', num=6, seed=1, size=40)
    keys = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob('*.png'))]
    for split in ('train', 'train_20p', 'train_10p'):
        (folder / f'{split}.txt').write_text('\n'.join(k for k in keys if 'unseen' not in k))
    for split in ('val', 'report'):
        (folder / f'{split}.txt').write_text('\n'.join(k for k in keys if 'unseen' in k))
    assert unseen.is_dir()
    return folder


@functools.cache
def read(name):
    return Config.fromfile(str(CONFIGS / f'{name}.py'))


def shrink(cfg, images, work_dir):
    """Make a config so small that two steps of its generator take a moment."""
    steps = cfg.model.get('discriminator_steps', 1)
    is_stylegan2 = cfg.model.generator.type == 'DISPStyleGAN2Generator'
    hooks = [hook['type'] for hook in cfg.custom_hooks]
    networks = ['model.generator', 'model.discriminator.discriminator']
    if cfg.model.discriminator is None:
        networks.pop()
    options = {
        'data_root': str(images),
        'batch_size': BATCH,
        'max_iters': 2 * steps,
        'image_size': 8 if is_stylegan2 else min(cfg.model.image_size, 32),
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        **{f'{n}.{"channel_max" if is_stylegan2 else "base_channels"}': 8 for n in networks},
        f'custom_hooks.{hooks.index("EMABatchNormHook")}.num_batches': 2,
        'default_hooks.visualization.interval': 2 * steps,
        'default_hooks.visualization.n_samples': BATCH,
        'work_dir': str(work_dir),
    }
    if is_stylegan2:
        options |= {'model.generator.style_channels': 8, 'model.generator.num_mlps': 2}
    if cfg.get('val_evaluator'):
        options |= {'train_cfg.val_begin': 1, 'train_cfg.val_interval': 2 * steps}
        options |= {'val_evaluator.fake_nums': 24, 'val_evaluator.cache_dir': str(work_dir)}
        options['default_hooks.checkpoint.save_best'] = 'kid24_val_pixels'
    if cfg.get('encoder'):
        options |= {'encoder': ENCODER, 'prior_dim': 16}
        options['bank_file'] = str(Path(work_dir, 'bank.safetensors'))
    if 'mining_iters' in cfg.model:
        options['model.mining_iters'] = 1
    if 'num_components' in (cfg.model.get('sampler') or {}):
        options['model.sampler.num_components'] = 3
    if cfg.model.get('perceptual'):
        options['model.perceptual.encoder'] = ENCODER
        options['model.perceptual.layers'] = ['conv1', 'layer1']
        options['model.sampler.num_epochs'] = 2
    if (cfg.model.discriminator or {}).get('freeze'):
        options['model.discriminator.freeze.blocks'] = 2
    if 'interval' in (cfg.model.get('sampler') or {}):
        options['model.sampler.interval'] = 1
    merge_options(cfg, options)
    for network in (cfg.model.generator, (cfg.model.discriminator or {}).get('discriminator', {})):
        for field in ('in_channels', 'out_channels'):
            widths = network.get('arch_cfg', {}).get(field)
            if widths:
                network.arch_cfg[field] = [c if c == 3 else max(c // 8, 4) for c in widths]
    return cfg


def write_pretrained(cfg, folder):
    """Write what the model zoo has, as small as the config; return the GAN."""
    kind = cfg.model.generator.type.removesuffix('Generator')
    if kind == 'DISPStyleGAN2':
        model = {**cfg.model, 'prior_dim': 0, 'sampler': None, 'pretrained': None}
        if cfg.model.type == 'GLANN':
            model = dict(type=kind, generator=cfg.model.generator, prior_dim=0)
            model['image_size'] = cfg.model.image_size
        gan = MODELS.build(model)
        state = {
            name.replace('discriminator.discriminator', 'discriminator'): value
            for name, value in gan.state_dict().items()
            if not name.endswith('w_avg')
        }
    else:
        source = get_config(STOCK[kind]).model
        width = {'base_channels': cfg.model.generator.base_channels}
        source.generator.update(output_scale=cfg.model.image_size, **width)
        source.discriminator.update(input_scale=cfg.model.image_size, **width)
        gan = MODELS.build(source)
        state = gan.state_dict()
    torch.save({'state_dict': state}, folder / 'pretrained.pth')
    cfg.model.pretrained.checkpoint = str(folder / 'pretrained.pth')
    return gan


def weights_of(network):
    return {name: value.clone() for name, value in network.named_parameters()}


def train_shrunk(cfg, images, folder):
    """Train two steps; check that both networks moved and that a checkpoint can sample."""
    shrink(cfg, images, folder)
    if cfg.model.get('per_image'):
        cfg.model.prior_dim = 6
    if cfg.model.get('pretrained'):
        write_pretrained(cfg, folder)
    prepare_run.check_sizes(cfg)
    prepare_run.check_training_set(cfg)
    prepare_run.ensure_bank(cfg)
    runner = Runner.from_cfg(cfg)
    gan = runner.model
    runner._init_model_weights()
    trained = [name for name in ('generator', 'discriminator') if getattr(gan, name) is not None]
    before = {name: weights_of(getattr(gan, name)) for name in trained}
    runner.train()
    assert runner.iter == cfg.train_cfg.max_iters
    frozen = find_frozen(gan)
    assert bool(frozen) == bool((cfg.model.discriminator or {}).get('freeze'))
    for name, old in before.items():
        new = weights_of(getattr(gan, name))
        assert all(value.isfinite().all() for value in new.values())
        held = frozen if name == 'discriminator' else ()
        moved = [not torch.equal(new[key], old[key]) for key in old if key not in held]
        assert sum(moved) > 0.8 * len(moved), name
        assert all(torch.equal(new[key], old[key]) for key in held)
    assert len(list(folder.rglob('vis_image/fake_img_*.png'))) == 1
    file = folder / f'iter_{cfg.train_cfg.max_iters}.pth'
    state = torch.load(file, map_location='cpu', weights_only=False)['state_dict']
    if gan.prior_dim:
        length = gan.noise_size if cfg.model.type == 'GLANN' else gan.prior_dim
        assert gan.sampler.sample(2).shape == (2, length)
        assert gan.prior_normalizer.is_fitted
    else:
        assert not [key for key in state if 'prior' in key or key.startswith('sampler')]
    if cfg.model.type == 'DISPStyleGAN2':
        logged = runner.message_hub.log_scalars
        assert logged['train/loss_r1_gp'].max() > 0
        has_path_length = cfg.model.get('gen_losses') != {'path_length': None}
        assert ('train/loss_path_regular' in logged) == has_path_length
        if has_path_length:
            assert logged['train/loss_path_regular'].max() > 0
        assert state['generator.w_avg'].any()
    if cfg.get('val_evaluator'):
        cards = read_cards(folder / 'metric_cards.json')
        names = {card.name for card in cards}
        assert {'kid24_val_pixels', 'kid_floor24_val_pixels'} <= names
        assert len(list(folder.glob('best_kid24_val_pixels_iter_*.pth'))) == 1
    size = cfg.model.image_size
    assert gan({'num_batches': 2})[0].fake_img.shape == (3, size, size)
    del runner
    gc.collect()


def find_frozen(gan):
    """Names of weights of the discriminator that a config freezes."""
    network = gan.discriminator
    if network is None:
        return []
    blocks = network.freeze.find(network.discriminator) if network.freeze else []
    held = {id(value) for block in blocks for value in block.parameters()}
    return [name for name, value in network.named_parameters() if id(value) in held]


@pytest.mark.parametrize(
    'name', [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_every_config_trains_two_steps(name, images, tmp_path):
    train_shrunk(copy.deepcopy(read(name)), images, tmp_path)


def load_command(command, tool, *options):
    """What tools/train.py makes of a command of the README, with data that is at hand."""
    arguments = [*shlex.split(command)[1:], '--cfg-options', *options]
    args = tool('train.py').parse_args(arguments)
    return load_config(CONFIGS.parent / args.config, args.cfg_options, args.method, args.technique)


@pytest.mark.slow
@pytest.mark.parametrize('command', COMMANDS)
def test_every_row_of_the_papers_tables_can_be_built(command, tool, images, tmp_path):
    cfg = shrink(load_command(command, tool, f'data_root={images}'), images, tmp_path)
    prepare_run.check_sizes(cfg)
    cfg.model.pretrained = None
    gan = MODELS.build(cfg.model)
    assert (gan.prior_dim == 0) == bool(re.search('--method (unconditional|ssgan)', command))
    assert gan.per_image == bool(re.search('method (per_image|self_cond|logo|glann( |$))', command))
    assert bool(getattr(gan.discriminator, 'freeze', False)) == ('freezed' in command)
    augmented = re.search('diffaug|ada$', command)
    augmentation = getattr(gan.discriminator, 'augmentation', None)
    assert (augmentation is not None) == bool(augmented)
    assert (gan.discriminator is None) == ('--method glann' in command)


@pytest.mark.parametrize('command', OTHERS)
def test_commands_that_do_not_train_are_understood(command, tool):
    name, *arguments = shlex.split(command)
    module = tool(name.removeprefix('tools/'))
    if 'dataset_converters' in name:
        assert '--num-train' in arguments and '--num-train' in inspect.getsource(module)
        return
    assert vars(module.parse_args(arguments))


def test_every_table_and_figure_of_the_paper_is_told_of():
    """Figure 2 is a drawing of the method, 7 shows more samples."""
    text = (CONFIGS / 'paper/README.md').read_text()
    told = set()
    for first, last in re.findall(r'Tables? (\d+)(?: to (\d+))?', text):
        told |= set(range(int(first), int(last or first) + 1))
    assert told >= set(range(1, 14))
    figures = text.split('## Figures')[1]
    assert all(re.search(rf'^\| .*\b{number}\b', figures, re.M) for number in (1, 3, 4, 5, 6, 8))
    for method in ('SSGAN', 'Self-Cond', 'Logo-GAN', 'GLANN', 'BSA', 'MineGAN', 'ADA', 'FreezeD'):
        assert method in text


@pytest.mark.slow
@pytest.mark.parametrize('command', TRAINED)
def test_rows_of_the_papers_tables_train_two_steps(command, tool, images, tmp_path):
    train_shrunk(load_command(command, tool, f'data_root={images}'), images, tmp_path)


@pytest.fixture(scope='module')
def mmagic_train():
    """A function: arguments of mmagic's own tools/train.py -> the config that its runner got."""
    file = Path(mmagic.__file__).parent / '.mim/tools/train.py'
    spec = importlib.util.spec_from_file_location('mmagic_train', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Captured(Exception):
        pass

    class StandIn:
        @staticmethod
        def from_cfg(cfg):
            raise Captured(cfg)

    def run(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', ['train.py', *map(str, arguments)])
            patch.setattr(module, 'Runner', StandIn)
            patch.setenv('LOCAL_RANK', '0')
            with pytest.raises(Captured) as captured:
                module.main()
        return captured.value.args[0]

    return run


def without_run(cfg):
    """A config as a dict, without what names this run of it."""
    return {k: v for k, v in cfg.to_dict().items() if k not in ('work_dir', 'launcher')}


@pytest.fixture
def read_alike(mmagic_train):
    """A function that reads a file by mmengine, mmagic's train.py and ours -> the one dict."""

    def run(file):
        ours = without_run(load_config(file))
        assert without_run(Config.fromfile(str(file))) == ours
        assert without_run(mmagic_train(file)) == ours
        return ours

    return run


@pytest.mark.parametrize('name', NAMES)
def test_a_config_means_the_same_to_every_reader(name, read_alike):
    read_alike(CONFIGS / f'{name}.py')


ENCODER_TEXT = "dict(type='TimmEncoder', model='resnet18')"
CHANGES = """
encoder = dict(_delete_=True, type='TimmEncoder', model='resnet18')
model = dict(image_size=64, prior_dim=512)
train_dataloader = dict(
    batch_size=7, dataset=dict(data_root='my_images', image_size=64, bank_file='mine.safetensors'))
"""


def test_options_and_an_inheriting_file_give_one_config(tmp_path, read_alike, mmagic_train):
    options = ['data_root=my_images', 'image_size=64', 'batch_size=7', 'prior_dim=512']
    options += ['bank_file=mine.safetensors']
    file = tmp_path / 'mine.py'
    file.write_text(f"_base_ = ['{CONFIGS}/disp_biggan_folder.py']\n{CHANGES}")
    by_file = read_alike(file)
    parsed = dict(option.split('=') for option in options)
    parsed |= {name: int(parsed[name]) for name in ('image_size', 'batch_size', 'prior_dim')}
    parsed['encoder'] = dict(type='TimmEncoder', model='resnet18')
    assert without_run(load_config(CONFIGS / 'disp_biggan_folder.py', parsed)) == by_file
    long_names = [
        'train_dataloader.dataset.data_root=my_images', 'train_dataloader.dataset.image_size=64',
        'train_dataloader.dataset.bank_file=mine.safetensors', 'train_dataloader.batch_size=7',
        'model.image_size=64', 'model.prior_dim=512', 'encoder._delete_=True',
        'encoder.type=TimmEncoder', 'encoder.model=resnet18',
    ]  # fmt: skip
    theirs = mmagic_train(CONFIGS / 'disp_biggan_folder.py', '--cfg-options', *long_names)
    assert without_run(theirs) == by_file


def test_a_project_with_only_the_wheel_inherits_the_same(tmp_path, read_alike):
    file = tmp_path / 'mine.py'
    base = "__import__('disp_plugin').base('disp_biggan_folder.py')"
    file.write_text(f'_base_ = [{base}]\n{CHANGES}')
    by_path = tmp_path / 'by_path.py'
    by_path.write_text(f"_base_ = ['{CONFIGS}/disp_biggan_folder.py']\n{CHANGES}")
    assert read_alike(file) == read_alike(by_path)


def test_a_method_and_techniques_by_flag_are_those_of_a_file(tmp_path, read_alike):
    parts = ['techniques/diffaug.py', 'techniques/consistency.py', 'techniques/gmm.py']
    bases = [f'{CONFIGS}/disp_sngan_anime100.py', *(f'{CONFIGS}/_base_/{p}' for p in parts)]
    file = tmp_path / 'mine.py'
    file.write_text(
        f'_base_ = {bases}\n'
        'model = dict(\n'
        '    discriminator=_base_.diffaug.model.discriminator,\n'
        '    disc_losses=_base_.consistency.model.disc_losses,\n'
        '    sampler=_base_.gmm.model.sampler)\n'
    )
    by_flag = load_config(
        CONFIGS / 'disp_sngan_anime100.py', techniques=['diffaug', 'consistency', 'gmm']
    )
    assert without_run(by_flag) == read_alike(file)
    bases = [f'{CONFIGS}/disp_sngan_anime100.py', f'{CONFIGS}/_base_/methods/unconditional.py']
    file.write_text(
        f'_base_ = {bases}\n'
        'encoder = None\n'
        'model = _base_.unconditional.model\n'
        'train_dataloader = _base_.unconditional.train_dataloader\n'
    )
    by_flag = load_config(CONFIGS / 'disp_sngan_anime100.py', method='unconditional')
    assert without_run(by_flag) == read_alike(file)


STOCK_RUNS = {
    'sngan': (
        'sngan_proj/sngan-proj_woReLUinplace_lr2e-4-ndisc5-1xb64_cifar10-32x32.py',
        dict(type='DISPSNGAN'),
        'DISPSNGANGenerator',
        {},
    ),
    'biggan': (
        'biggan/biggan_2xb25-500kiters_cifar10-32x32.py',
        dict(type='DISPBigGAN'),
        'DISPBigGANGenerator',
        {},
    ),
    'stylegan2': (
        'styleganv2/stylegan2_c2_8xb4-800kiters_ffhq-256x256.py',
        dict(type='DISPStyleGAN2'),
        'DISPStyleGAN2Generator',
        dict(type='SizedStyleGAN2Discriminator'),
    ),
}


def write_stock(file, gan, images, work_dir):
    """A file that adds our modules to one of mmagic's configs, with mmagic's data set."""
    base, model, generator, own = STOCK_RUNS[gan]
    size = 8 if gan == 'stylegan2' else 32
    sizes = ('out_size', 'in_size') if gan == 'stylegan2' else ('output_scale', 'input_scale')
    width = 'channel_max' if gan == 'stylegan2' else 'base_channels'
    narrow = {'style_channels': 8, 'num_mlps': 2} if gan == 'stylegan2' else {}
    file.write_text(f"""
_base_ = ['mmagic::{base}']
custom_imports = dict(imports=['disp_plugin.register'], allow_failed_imports=False)
encoder = {ENCODER}
model = dict(
    prior_dim=16, prior_norm='centered_l2', sampler=dict(type='GMMPriorSampler', num_components=2),
    generator=dict(type='{generator}', {sizes[0]}={size}, {width}=8, **{narrow}),
    discriminator=dict(
        _delete_=True, type='PriorProjectionDiscriminator',
        discriminator=dict(_base_.model.discriminator, {sizes[1]}={size}, {width}=8, **{own})),
    **{model})
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    dataset=dict(
        _delete_=True, type='BasicImageDataset', data_root='{images}', ann_file='train.txt',
        metainfo=dict(dataset_type='x', task_name='x'), data_prefix=dict(gt=''),
        pipeline=[
            dict(type='LoadImageFromFile', key='gt'),
            dict(type='Resize', keys='gt', scale=({size}, {size}), backend='pillow'),
            dict(type='Flip', keys='gt', flip_ratio=0.5, direction='horizontal'),
            dict(type='LoadPrior', bank_file='{images}/bank.safetensors', data_root='{images}'),
            dict(type='PackInputs', data_keys=['gt_prior'])]))
train_cfg = dict(max_iters=5)
optim_wrapper = dict(
    generator=dict(optimizer=dict(type='Adam', lr=1e-3, betas=(0.0, 0.99))),
    discriminator=dict(optimizer=dict(type='Adam', lr=1e-3, betas=(0.0, 0.99))))
custom_hooks = [dict(type='GMMSamplerHook')]
default_hooks = dict(
    checkpoint=dict(_delete_=True, type='CheckpointHook', interval=5, by_epoch=False))
val_dataloader = val_cfg = val_evaluator = test_dataloader = test_cfg = test_evaluator = None
work_dir = '{work_dir}'
""")


@pytest.mark.parametrize('gan', STOCK_RUNS)
def test_a_config_of_mmagic_with_our_modules_is_read_alike(gan, images, tmp_path, read_alike):
    write_stock(tmp_path / 'mine.py', gan, images, tmp_path)
    assert read_alike(tmp_path / 'mine.py')['model']['type'].startswith('DISP')


@pytest.mark.slow
@pytest.mark.parametrize('gan', STOCK_RUNS)
def test_a_config_of_mmagic_with_our_modules_trains(gan, images, tmp_path, mmagic_train, tool):
    write_stock(tmp_path / 'mine.py', gan, images, tmp_path)
    cfg = mmagic_train(tmp_path / 'mine.py')
    encoder = [f'{name}={value}' for name, value in ENCODER.items()]
    tool('build_prior_bank.py').main(
        [
            *('--images', str(images), '--ann-file', 'train.txt', '--flip', '--overwrite'),
            *('--image-size', str(8 if gan == 'stylegan2' else 32), '--encoder', *encoder),
            *('--bank-file', str(images / 'bank.safetensors')),
        ]
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 5 and runner.model.sampler.is_fitted
    assert (tmp_path / 'iter_5.pth').is_file()


def test_the_hook_refuses_a_short_name_at_the_top(images, tmp_path):
    """As under mmagic's own train.py, which does not check it."""
    file = tmp_path / 'mine.py'
    file.write_text(f"_base_ = ['{CONFIGS}/disp_biggan_digits.py']\ndata_root = 'my_images'\n")
    cfg = shrink(Config.fromfile(str(file)), images, tmp_path / 'run')
    cfg.data_root = 'my_images'
    prepare_run.ensure_bank(cfg)
    with pytest.raises(
        ValueError, match="data_root='my_images' at the top of .*mine.py has no effect"
    ):
        Runner.from_cfg(cfg).train()


def is_in_place(cfg):
    return cfg.model.discriminator.discriminator.get('act_cfg', {}).get('inplace', False)


BIGGANS = [name for name in NAMES if 'biggan' in name]


@torch.no_grad()
@pytest.mark.parametrize('name', BIGGANS)
def test_the_shortcuts_of_a_biggan_discriminator_keep_what_is_negative(name):
    """Brock et al. 2019, figure 15 (c): conv(relu(conv(relu(x)))) + shortcut(x), both pooled."""
    cfg = copy.deepcopy(read(name))
    started = (cfg.model.get('pretrained') or {}).get('checkpoint', '')
    assert is_in_place(cfg) == started.startswith('biggan_ajbrock')
    if started:
        cfg = load_config(CONFIGS / f'{name}.py', techniques=['scratch_biggan'])
    cfg.model.discriminator.discriminator.base_channels = 8
    cfg.model.prior_dim = 16
    plain = dict(pretrained=None, ema_config=None, fuse_resampling=False)
    gan = MODELS.build({**cfg.model, **plain})
    blocks = gan.discriminator.discriminator.double().eval().conv_blocks
    for block in [
        b for b in blocks if getattr(b, 'with_downsample', False) and not b.is_head_block
    ]:
        x = torch.randn(2, block.conv1.conv.in_channels, 8, 8, dtype=torch.float64)
        before = x.clone()
        out = block(x)
        assert torch.equal(x, before)
        inner = block.conv2.conv(block.conv1.conv(before.clamp(min=0)).clamp(min=0))
        halved = (inner + block.shortcut.conv(before)).unflatten(3, (4, 2)).unflatten(2, (4, 2))
        assert_close_to_scale(out, halved.mean((3, 5)))


@torch.no_grad()
@pytest.mark.parametrize('name', [n for n in NAMES if re.search('sngan|biggan', n)])
def test_no_block_changes_its_input(name):
    """Whoever starts from mmagic's ImageNet BigGAN must: it was trained so."""
    cfg = copy.deepcopy(read(name))
    cfg.model.prior_dim = 16
    cfg.model.generator.base_channels = cfg.model.discriminator.discriminator.base_channels = 8
    gan = MODELS.build({**cfg.model, 'pretrained': None, 'ema_config': None}).eval()
    changed = {'generator': [], 'discriminator': []}

    def compare(network, module, args, output):
        changed[network].append(not torch.equal(args[0], module.seen))

    for network in changed:
        part = getattr(gan, network)
        for block in getattr(part, 'discriminator', part).conv_blocks:
            block.register_forward_pre_hook(
                lambda module, args: setattr(module, 'seen', args[0].clone())
            )
            block.register_forward_hook(functools.partial(compare, network))
    size = cfg.model.image_size
    img = gan.generator(torch.randn(2, gan.noise_size), torch.randn(2, 16))
    gan.discriminator(torch.randn(2, 3, size, size), torch.randn(2, 16))
    assert img.shape[-1] == size and changed['generator'] and not any(changed['generator'])
    assert any(changed['discriminator']) == is_in_place(cfg)


def test_starting_from_imagenet_keeps_its_weights(images, tmp_path):
    cfg = shrink(copy.deepcopy(read('disp_biggan_ffhq2k')), images, tmp_path)
    source = write_pretrained(cfg, tmp_path)
    gan = MODELS.build(cfg.model)
    gan.init_weights()
    pairs = [
        (gan.generator.output_layer.conv, source.generator.output_layer.conv),
        (gan.generator.conv_blocks[0].conv1.conv, source.generator.conv_blocks[0].conv1.conv),
        (gan.discriminator.discriminator.decision, source.discriminator.decision),
    ]
    for ours, theirs in pairs:
        for (name, value), other in zip(
            ours.state_dict().items(), theirs.state_dict().values(), strict=True
        ):
            assert torch.equal(value, other), name


def test_what_configs_start_from_is_in_mmagics_zoo():
    expected = {'stylegan2': 'ffhq_256', 'biggan': 'biggan_imagenet1k_128', 'sngan': '_imagenet1k_'}
    for gan, zoo_name in expected.items():
        part = Config.fromfile(str(CONFIGS / f'_base_/techniques/transfer_{gan}.py'))
        name = part[f'transfer_{gan}'].model.pretrained.checkpoint
        assert zoo_name in find_zoo_url(name), name


def test_cifar_uses_the_networks_of_mmagics_cifar_config_with_split_noise():
    host = get_config('mmagic::biggan/biggan_2xb25-500kiters_cifar10-32x32.py')
    cfg = read('disp_biggan_cifar10')
    own = {'type', 'num_classes', 'with_shared_embedding', 'split_noise'}
    own |= {'output_scale', 'input_scale'}
    for ours, theirs in (
        (cfg.model.generator, host.model.generator),
        (cfg.model.discriminator.discriminator, host.model.discriminator),
    ):
        assert {k: v for k, v in ours.items() if k in theirs and k not in own} == {
            k: v for k, v in theirs.items() if k not in own
        }
    assert cfg.model.image_size == host.model.generator.output_scale
    assert cfg.model.generator.split_noise
    assert cfg.model.discriminator_steps == host.model.discriminator_steps
    assert {**host.model.ema_config, **cfg.model.ema_config} == host.model.ema_config
    for name in ('generator', 'discriminator'):
        optimizer = dict(cfg.optim_wrapper[name].optimizer)
        assert optimizer.pop('fused')
        assert optimizer == host.optim_wrapper[name].optimizer


@pytest.mark.parametrize(
    ('name', 'noise_size', 'feature_dim'),
    [
        ('disp_sngan_anime100', 128, 1024),
        ('disp_biggan_places2.5k', 120, 1536),
        ('disp_biggan_cifar10', 128, 256),
        ('disp_biggan_cifar100_gmm', 128, 256),
        ('disp_biggan_imagenet32_gmm', 120, 256),
        ('disp_biggan_lsun_bedroom_gmm', 120, 1536),
    ],
)
def test_full_size_networks_have_the_papers_sizes(name, noise_size, feature_dim):
    model = {**read(name).model, 'pretrained': None, 'ema_config': None}
    with torch.device('meta'):
        gan = MODELS.build(model)
    assert gan.noise_size == noise_size
    assert gan.generator.prior_projection[0].weight.shape == (128, 4096)
    d_emb = next(gan.discriminator.prior_projection.parameters())
    assert d_emb.shape == (feature_dim, 4096)


@pytest.mark.parametrize(
    ('name', 'batch', 'disc_steps', 'steps'),
    [
        ('disp_sngan_faces100', 25, 4, 30_000),
        ('disp_biggan_cub6k', 256, 1, 5_000),
        ('disp_biggan_cifar100', 50, 4, 100_000),
        ('disp_biggan_cifar100_gmm', 50, 4, 100_000),
        ('disp_biggan_imagenet32_gmm', 64, 4, 200_000),
        ('disp_biggan_ffhq_gmm', 64, 4, 100_000),
    ],
)
def test_schedules_count_batches_of_the_discriminator(name, batch, disc_steps, steps):
    cfg = read(name)
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.model.discriminator_steps == disc_steps
    assert cfg.train_cfg.max_iters == steps * disc_steps
    if name.endswith('_gmm'):
        sampler = cfg.model.sampler
        assert sampler.type == 'GMMPriorSampler' and 'alpha' not in sampler
        assert (sampler.num_components, sampler.fit_subset) == (1000, 200_000)
        assert sampler.pca_variance is None  # equation (6): the priors themselves
        # processes wait for the fit
        assert cfg.env_cfg.dist_cfg.backend == 'nccl' and cfg.env_cfg.dist_cfg.timeout >= 3600


@pytest.mark.parametrize('name', ['disp_biggan_cifar10', 'disp_biggan_cifar100'])
def test_both_tables_of_cifar_have_one_biggan(name):
    """Section 8 of the paper's supplement; only where new priors come from differs."""
    limited, large = read(name).to_dict(), read(f'{name}_gmm').to_dict()
    assert large['model'].pop('sampler') != limited['model'].pop('sampler')
    for part in ('model', 'train_dataloader', 'optim_wrapper', 'train_cfg', 'encoder'):
        assert large[part] == limited[part], part


@pytest.mark.parametrize('name', ['disp_stylegan2_cifar10', 'disp_stylegan2_cifar100'])
def test_stylegan2_on_cifar_has_the_numbers_of_diffaugments_code(name):
    """run_cifar.py, training_loop.py and loss.py of mit-han-lab/data-efficient-gans."""
    cfg = read(name)
    assert cfg.train_dataloader.batch_size == 32 and cfg.train_dataloader.dataset.flip
    assert cfg.train_cfg.max_iters * 32 == 25_000_000
    for wrapper in (cfg.optim_wrapper.generator, cfg.optim_wrapper.discriminator):
        assert (wrapper.optimizer.lr, tuple(wrapper.optimizer.betas)) == (0.002, (0.0, 0.99))
    with torch.device('meta'):
        gan = MODELS.build(cfg.model)
    (r1,) = gan.disc_auxiliary_losses
    assert (r1.loss_weight, r1.interval, r1.on_augmented) == (0.05, 1, True)
    assert r1.norm_mode == 'HWC' and not gan.gen_auxiliary_losses
    assert gan.ema_start * 32 == 1_000_000
    assert gan.generator.mix_prob == 0.9 and gan.gan_loss.gan_type == 'vanilla'


STYLEGAN2_ROWS = [
    c for c in COMMANDS if re.search('stylegan2_(cifar10|panda)', c) and 'glann' not in c
]


@pytest.mark.parametrize('command', STYLEGAN2_ROWS)
def test_the_average_of_a_stylegan2_is_halved_over_the_images_of_its_batch(command, tool):
    options = ['data_root=x'] if 'per_image' not in command else []
    cfg = load_command(command, tool, *options)
    batch = cfg.train_dataloader.batch_size
    assert batch == (32 if 'cifar' in command else 8 if 'freezed' in command else 16)
    left = (1 - cfg.model.ema_config.momentum) ** (
        (1_000_000 if 'cifar' in command else 10_000) / batch
    )
    assert left == pytest.approx(0.5)


@pytest.mark.parametrize('technique', ['simclr_resnet50', 'resnet50_places365'])
def test_a_published_resnet50_gives_its_pooled_features(technique, tmp_path):
    """A checkpoint of OpenMMLab, and one as that of places365's authors."""
    import torchvision

    cfg = load_config(CONFIGS / 'disp_sngan_anime100.py', techniques=[technique])
    torch.manual_seed(0)
    resnet50 = torchvision.models.resnet50(num_classes=1).eval()
    img = torch.rand(1, 3, 224, 224)
    resnet50.fc = torch.nn.Identity()
    is_simclr = technique == 'simclr_resnet50'
    prefix, head = ('backbone', 'neck.fc0') if is_simclr else ('module', 'module.fc')
    tensors = {f'{prefix}.{name}': value for name, value in resnet50.state_dict().items()}
    tensors[f'{head}.weight'] = torch.zeros(2048 if is_simclr else 365, 2048)
    more = {} if is_simclr else {'epoch': 90, 'arch': 'resnet50', 'best_prec1': torch.tensor(54.0)}
    file = tmp_path / Path(cfg.encoder.checkpoint).name
    torch.save({'state_dict': tensors, **more}, file)
    encoder = MODELS.build({**cfg.encoder, 'checkpoint': str(file)})
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    with torch.no_grad():
        expected = resnet50((img - mean) / std)
    assert expected.shape == (1, cfg.model.prior_dim)
    assert_close_to_scale(encoder(img), expected)


def test_no_config_mirrors_digits_letters_or_what_is_held_in_a_hand():
    for name in NAMES:
        is_upright = name.endswith(('digits', 'glyphs', 'openmoji'))
        assert read(name).train_dataloader.dataset.get('flip', False) != is_upright
