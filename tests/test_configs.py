"""Every config of configs/ is built and trained, shrunk; and what configs promise of each other."""

import copy
import functools
import gc
import json
import math
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.runner import Runner

import disp_plugin.register  # noqa: F401  (patches mmagic, so that the rest can be imported)
from disp_plugin.cli.resolve_config import resolve_config
from disp_plugin.encoders.backbone import META_KEY
from disp_plugin.evaluation.metric_card import read_cards
from disp_plugin.models.checkpoint_file import find_zoo_url
from disp_plugin.priors import BankOrigin, PriorBank, build_bank
from disp_plugin.priors.check_origin import simplify_config

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
NAMES = sorted(path.stem for path in CONFIGS.glob('*.py'))
DISP = [name for name in NAMES if name.startswith('disp_') and not name.endswith('_folder')]
COMPANION = re.compile('_(transfer|freezed|ada|diffaug|minegan)$')

BATCH = 4
# All that a shrunk config may differ in: batch, channels, resolution and with it blocks to freeze,
# iterations, components of a mixture (there cannot be more than priors), where things lie.
SHRUNK = {
    'batch_size', 'n_samples', 'num_batches', 'num_components',
    'base_channels', 'in_channels', 'out_channels', 'channel_max', 'style_channels', 'num_mlps',
    'image_size', 'output_scale', 'input_scale', 'out_size', 'in_size', 'scale',
    'max_iters', 'interval', 'val_interval', 'val_begin', 'fake_nums', 'blocks',
    'mining_iters',
    'data_root', 'bank_file', 'checkpoint', 'cache_dir', 'work_dir', 'experiment_name', 'save_best',
}  # fmt: skip


THIN = {
    f'model.{network}.base_channels': 4 for network in ('generator', 'discriminator.discriminator')
}
NARROW = {
    'model.generator.channel_max': 8,
    'model.generator.style_channels': 8,
    'model.generator.num_mlps': 2,
    'model.discriminator.discriminator.channel_max': 8,
}


@pytest.fixture(scope='module')
def images(tmp_path_factory, make_image_folder):
    """Six images with the manifests that the converters write."""
    folder = tmp_path_factory.mktemp('images')
    make_image_folder(folder / 'train', num=6, size=40)
    keys = ''.join(f'train/{path.name}\n' for path in sorted((folder / 'train').iterdir()))
    for split in ('train', 'train_20p', 'train_10p'):
        (folder / f'{split}.txt').write_text(keys)
    unseen = make_image_folder(tmp_path_factory.mktemp('unseen') / 'unseen', num=6, seed=1)
    for split in ('val', 'report'):
        (unseen / f'{split}.txt').write_text(''.join(f'{p.name}\n' for p in unseen.glob('*.png')))
    (folder / 'unseen.txt').write_text(str(unseen))
    write_encoder(folder / 'encoder.pth')
    return folder


def write_encoder(file):
    """What tools/pretrain_encoder.py writes of the encoder that the demo trains."""
    meta = dict(
        arch='timm/resnet10t',
        arch_kwargs=dict(channels=[16, 32, 64, 128], stem_width=8),
        in_size=32,
    )
    untrained = MODELS.build(dict(type='CheckpointEncoder', untrained=True, **meta))
    torch.save({META_KEY: json.dumps(meta), **untrained.network.state_dict()}, file)


@functools.cache
def read(name):
    """Reading takes longer than two steps of a shrunk config."""
    return Config.fromfile(str(CONFIGS / f'{name}.py'))


def load(name, options=None):
    """What tools/train.py would make of a config and of ``--cfg-options``."""
    cfg = copy.deepcopy(read(name))
    if name.endswith('_folder') and options is None:
        return cfg  # its images are looked for as soon as it is resolved
    return resolve_config(cfg, options)


def is_upright(name):
    """Whether a config is of the sets drawn at 16 px, of which a mirrored image is none."""
    return 'digits' in name or 'glyphs' in name


def shrink(name, images, work_dir):
    """Load a config so small that two steps of its generator take a moment."""
    cfg = load(name)
    steps = cfg.model.get('discriminator_steps', 1)
    is_stylegan2 = 'stylegan2' in name
    small = 8 if is_stylegan2 else 16 if is_upright(name) else 32
    hooks = [hook['type'] for hook in cfg.custom_hooks]
    options = {
        'data_root': str(images),
        'batch_size': BATCH,
        'max_iters': 2 * steps,
        'image_size': small,
        **(NARROW if is_stylegan2 else THIN),
        f'custom_hooks.{hooks.index("EMABatchNormHook")}.num_batches': 2,
        f'custom_hooks.{hooks.index("VisualizationHook")}.interval': 2 * steps,
        f'custom_hooks.{hooks.index("VisualizationHook")}.n_samples': BATCH,
        'work_dir': str(work_dir),
        'experiment_name': name,
    }
    if cfg.get('val_evaluator'):
        options |= {'train_cfg.val_begin': 1, 'train_cfg.val_interval': 2 * steps}
        options |= {'val_evaluator.fake_nums': 24, 'test_evaluator.fake_nums': 24}
        options['val_evaluator.cache_dir'] = str(work_dir)
        unseen = (images / 'unseen.txt').read_text()
        options |= {f'{split}_dataloader.dataset.data_root': unseen for split in ('val', 'test')}
        options['default_hooks.checkpoint.save_best'] = 'kid24_val_pixels'
        if 'checkpoint' in (cfg.encoder or {}):
            options['encoder.checkpoint'] = str(images / 'encoder.pth')
    if cfg.bank_file:
        options['bank_file'] = str(work_dir / 'bank.safetensors')
    if cfg.model.discriminator.get('freeze'):
        options['model.discriminator.freeze.blocks'] = 2
    if 'mining_iters' in cfg.model.generator:
        options['model.generator.mining_iters'] = 1
    if 'num_components' in (cfg.model.sampler or {}):
        options['model.sampler.num_components'] = 3
    cfg = load(name, options)
    for network in (cfg.model.generator, cfg.model.discriminator.discriminator):
        for field in ('in_channels', 'out_channels'):
            widths = network.get('arch_cfg', {}).get(field)
            if widths:
                network.arch_cfg[field] = [c if c == 3 else max(c // 8, 4) for c in widths]
    return cfg


def flatten(node, path=()):
    """Every leaf of a config by its path."""
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return {path: node}
    leaves = {}
    for key, value in items:
        leaves.update(flatten(value, (*path, key)))
    return leaves


def name_of(path):
    """The field that a leaf belongs to; an item of a list belongs to the list's field."""
    return next(part for part in reversed(path) if isinstance(part, str))


def train_dataset(cfg):
    return cfg.train_dataloader.dataset.dataset


def write_bank(cfg, images):
    """A bank of random priors that names the config's encoder as its origin."""
    pipeline = [step['type'] for step in train_dataset(cfg).pipeline]
    views = 2 if 'Flip' in pipeline else 1
    keys = (images / 'train.txt').read_text().split()
    if not train_dataset(cfg).get('ann_file'):
        keys = sorted(path.relative_to(images).as_posix() for path in images.rglob('*.png'))
    priors = torch.randn(len(keys), views, cfg.prior_dim)
    origin = BankOrigin(encoder_config=simplify_config(cfg.encoder))
    PriorBank(keys, priors, origin=origin).save(cfg.bank_file)


def write_pretrained(cfg, folder):
    """What the model zoo has, as small as the config."""
    if cfg.model.type != 'DISPStyleGAN2':
        return write_imagenet_gan(cfg, folder)
    plain = {**cfg.model, 'prior_dim': 0, 'sampler': None, 'pretrained': None}
    gan = MODELS.build(plain)
    state = {
        name.replace('discriminator.discriminator', 'discriminator'): value
        for name, value in gan.state_dict().items()
        if not name.endswith('w_avg')
    }
    file = folder / 'ffhq.pth'
    torch.save({'state_dict': state}, file)
    cfg.model.pretrained.checkpoint = str(file)
    return gan


def write_imagenet_gan(cfg, folder):
    """A class-conditional GAN of mmagic."""
    base = {
        'DISPBigGAN': 'mmagic::_base_/models/biggan/base_biggan_128x128.py',
        'DISPSNGAN': 'mmagic::_base_/models/sngan_proj/base_sngan_proj_128x128.py',
    }
    source = get_config(base[cfg.model.type]).model
    small = {'base_channels': cfg.model.generator.base_channels}
    source.generator.update(output_scale=cfg.image_size, **small)
    source.discriminator.update(input_scale=cfg.image_size, **small)
    gan = MODELS.build(source)
    file = folder / 'imagenet.pth'
    torch.save({'state_dict': gan.state_dict()}, file)
    cfg.model.pretrained.checkpoint = str(file)
    return gan


def weights_of(network):
    return {name: value.clone() for name, value in network.named_parameters()}


def train(cfg):
    """Train to the end; return the runner and the networks' weights before the first step."""
    runner = Runner.from_cfg(cfg)
    runner._init_model_weights()
    before = {n: weights_of(getattr(runner.model, n)) for n in ('generator', 'discriminator')}
    runner.train()
    return runner, before


def find_frozen(gan):
    """Names of weights of the discriminator that a config freezes."""
    network = gan.discriminator
    blocks = network.freeze.find(network.discriminator) if network.freeze else []
    held = {id(value) for block in blocks for value in block.parameters()}
    return [name for name, value in network.named_parameters() if id(value) in held]


def check_trained(runner, cfg, before):
    """Both networks moved and stayed finite, and what sampling needs is in the checkpoint."""
    assert runner.iter == cfg.max_iters
    gan = runner.model
    for name, old in before.items():
        new = weights_of(getattr(gan, name))
        assert all(value.isfinite().all() for value in new.values())
        frozen = find_frozen(gan) if name == 'discriminator' else ()
        moved = [not torch.equal(new[key], old[key]) for key in old if key not in frozen]
        assert sum(moved) > 0.8 * len(moved), name
        assert all(torch.equal(new[key], old[key]) for key in frozen)
    grids = list(Path(cfg.work_dir).rglob('vis_image/fake_img_*.png'))
    assert len(grids) == 1
    state = torch.load(
        Path(cfg.work_dir) / f'iter_{cfg.max_iters}.pth', map_location='cpu', weights_only=False
    )['state_dict']
    if cfg.prior_dim:
        if 'num_components' in cfg.model.sampler:
            saved = [value for key, value in state.items() if key.startswith('sampler.')]
            assert cfg.model.sampler.num_components in {len(value) for value in saved}
        else:
            assert state['sampler.priors'].shape == (6, cfg.prior_dim)
        assert gan.sampler.sample(2).shape == (2, cfg.prior_dim)
        assert gan.prior_normalizer.is_fitted
    else:
        assert not [key for key in state if 'prior' in key or key.startswith('sampler')]
    if cfg.model.type == 'DISPStyleGAN2':
        logged = runner.message_hub.log_scalars
        assert logged['train/loss_r1_gp'].max() > 0
        assert logged['train/loss_path_regular'].max() > 0
        assert state['gen_auxiliary_losses.0.mean_path_length'] > 0
        assert state['generator.w_avg'].any()
    if cfg.get('val_evaluator'):
        cards = read_cards(Path(cfg.work_dir) / 'metric_cards.json')
        names = {card.name for card in cards}
        assert {'kid24_val_pixels', 'kid_floor24_val_pixels', 'disc_gap_val'} <= names
        has_prior_space = 'checkpoint' in (cfg.encoder or {})
        assert ('kid24_val_prior' in names) == has_prior_space
        assert len(list(Path(cfg.work_dir).glob('best_kid24_val_pixels_iter_*.pth'))) == 1
    sample = gan({'num_batches': 2})[0].fake_img
    assert sample.shape == (3, cfg.image_size, cfg.image_size)


@pytest.mark.parametrize('name', NAMES)
def test_every_config_trains_two_steps(name, images, tmp_path):
    cfg = shrink(name, images, tmp_path)
    before, after = flatten(load(name).to_dict()), flatten(cfg.to_dict())
    differing = {name_of(p) for p in {*before, *after} if before.get(p) != after.get(p)}
    assert differing <= SHRUNK, differing - SHRUNK
    if cfg.bank_file:
        write_bank(cfg, images)
    if cfg.model.get('pretrained'):
        write_pretrained(cfg, tmp_path)
    runner, weights = train(cfg)
    check_trained(runner, cfg, weights)
    del runner
    gc.collect()  # the workers of its loader


@pytest.mark.parametrize('name', [name for name in NAMES if name.endswith('_gmm')])
def test_processes_of_a_large_run_wait_for_the_fit(name):
    dist_cfg = load(name).env_cfg.dist_cfg
    assert dist_cfg.backend == 'nccl' and dist_cfg.timeout >= 3600


def test_vgg16_fc7_gives_the_priors_of_a_config_from_a_local_file(images, tmp_path):
    import torchvision

    cfg = shrink('disp_sngan_anime100', images, tmp_path)
    vgg16 = torchvision.models.vgg16(init_weights=False)
    for value in vgg16.parameters():
        torch.nn.init.normal_(value, std=0.02)
    torch.save({name: value.half() for name, value in vgg16.state_dict().items()}, tmp_path / 'vgg')
    for hook in cfg.custom_hooks:
        if 'encoder' in hook:
            hook.encoder = {**cfg.encoder, 'checkpoint': str(tmp_path / 'vgg')}
            encoder = MODELS.build(hook.encoder)
    bank = build_bank(cfg, encoder, cfg.bank_file, batch_size=12, progress=False)
    assert bank.priors.shape == (6, 2, 4096) and (bank.priors >= 0).all()
    runner, weights = train(cfg)
    check_trained(runner, cfg, weights)


def test_digits_train_on_priors_of_an_encoder_from_a_local_file(images, tmp_path):
    cfg = shrink('disp_sngan_digits', images, tmp_path)
    for hook in cfg.custom_hooks:
        if 'encoder' in hook:
            bank = build_bank(cfg, MODELS.build(hook.encoder), cfg.bank_file, progress=False)
    assert bank.prior_dim == cfg.prior_dim
    runner, weights = train(cfg)
    check_trained(runner, cfg, weights)


def test_starting_from_imagenet_keeps_its_weights(images, tmp_path):
    cfg = shrink('disp_biggan_ffhq2k', images, tmp_path)
    source = write_imagenet_gan(cfg, tmp_path)
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


def test_the_rows_of_simclr_are_the_override_that_the_readme_says(tool):
    lines = (CONFIGS / 'README.md').read_text().replace('\\\n', ' ').splitlines()
    command = next(line for line in lines if 'anime100_simclr' in line)
    args = tool('train.py').parse_args(shlex.split(command)[2:])
    cfg = resolve_config(Config.fromfile(CONFIGS.parent / args.config), args.cfg_options)
    expected = load('disp_biggan_cifar10_simclr_gmm')
    assert cfg.encoder == expected.encoder and cfg.prior_dim == expected.prior_dim == 2048
    assert cfg.model.prior_dim == 2048
    assert cfg.custom_hooks[0].encoder == expected.encoder
    assert cfg.custom_hooks[0].bank_file == cfg.bank_file
    assert cfg.model.discriminator.augmentation.type == 'DiffAugment'


def test_what_configs_start_from_is_in_mmagics_zoo():
    start = {name: (load(name).model.get('pretrained') or {}).get('checkpoint') for name in NAMES}
    expected = {'stylegan2': 'ffhq_256', 'biggan': 'biggan_imagenet1k_128', 'sngan': '_imagenet1k_'}
    for name, zoo_name in start.items():
        if zoo_name:
            gan = name.removeprefix('disp_').split('_')[0]
            assert expected[gan] in find_zoo_url(zoo_name), name
    tuned = {name for name in NAMES if re.search('_(transfer|freezed|minegan)', name)}
    assert tuned <= {name for name, zoo_name in start.items() if zoo_name}


@pytest.mark.parametrize('name', DISP)
def test_each_disp_config_stands_beside_its_baselines(name):
    disp, plain = load(name), name.removeprefix('disp_')
    if COMPANION.search(name):
        baselines = [plain]
    elif 'stylegan2' in plain:
        baselines = [f'{plain}_unconditional']
    elif plain.endswith('_gmm'):
        baselines = [re.sub('_(vgg16|simclr)_gmm$', '_selfmod_gmm', plain)]
    else:
        baselines = [f'{plain}_selfmod']
    # one-hot priors of 10,000 images or more would outweigh the networks
    large = plain.startswith('stylegan2_cifar') or plain.endswith(('_20p', '_gmm'))
    is_alone = large or COMPANION.search(name)
    if plain not in ('biggan_cifar10', 'biggan_cifar100') and not is_alone:
        baselines.append(f'{plain}_per_image')
    for baseline in baselines:
        cfg = load(baseline)
        for field in ('optim_wrapper', 'train_cfg', 'data_root', 'image_size', 'default_hooks'):
            assert cfg[field] == disp[field], field
        assert cfg.train_dataloader.batch_size == disp.train_dataloader.batch_size
        assert train_dataset(cfg).ann_file == train_dataset(disp).ann_file
        before, after = flatten(disp.model.to_dict()), flatten(cfg.model.to_dict())
        differing = {path[0] for path in {*before, *after} if before.get(path) != after.get(path)}
        own = {'prior_dim', 'prior_norm', 'sampler'}
        if name.startswith('disp_biggan_cifar') and name.endswith('_diffaug'):
            own.add('loss_config')  # the weight of consistency
        assert differing <= own
        assert cfg.prior_dim == cfg.model.prior_dim
        assert cfg.bank_file is None or cfg.bank_file != disp.bank_file


@pytest.mark.parametrize('name', NAMES)
def test_what_a_config_says_at_its_top_holds_below(name):
    cfg = load(name)
    pipeline = {step['type']: step for step in train_dataset(cfg).pipeline}
    hook = next((h for h in cfg.custom_hooks if h['type'].endswith('SamplerHook')), None)
    assert cfg.model.prior_dim == cfg.prior_dim
    assert train_dataset(cfg).data_root == cfg.data_root
    assert tuple(pipeline['Resize']['scale']) == (cfg.image_size, cfg.image_size)
    sizes = ('out_size', 'in_size') if 'stylegan2' in name else ('output_scale', 'input_scale')
    assert cfg.model.generator[sizes[0]] == cfg.image_size
    assert cfg.model.discriminator.discriminator[sizes[1]] == cfg.image_size
    assert cfg.train_dataloader.batch_size == cfg.batch_size
    assert cfg.train_cfg.max_iters == cfg.max_iters
    if cfg.prior_dim:
        assert pipeline['LoadPrior']['bank_file'] == hook['bank_file'] == cfg.bank_file
        assert hook['encoder'] == cfg.encoder
        assert pipeline['PackInputs']['data_keys'] == ['gt_prior']
    else:
        assert hook is None and 'LoadPrior' not in pipeline and cfg.encoder is None
    # torch's Adam refuses whole numbers
    for part in ('generator', 'discriminator'):
        assert all(type(b) is float for b in cfg.optim_wrapper[part].optimizer.betas)


def test_cifar_uses_the_networks_of_mmagics_cifar_config_with_split_noise():
    host = get_config('mmagic::biggan/biggan_2xb25-500kiters_cifar10-32x32.py')
    cfg = load('disp_biggan_cifar10')
    own = {'type', 'num_classes', 'with_shared_embedding', 'split_noise'}
    for ours, theirs in (
        (cfg.model.generator, host.model.generator),
        (cfg.model.discriminator.discriminator, host.model.discriminator),
    ):
        assert {k: v for k, v in ours.items() if k in theirs and k not in own} == {
            k: v for k, v in theirs.items() if k not in own
        }
    assert cfg.model.generator.split_noise
    assert cfg.model.discriminator_steps == host.model.discriminator_steps
    assert {**host.model.ema_config, **cfg.model.ema_config} == host.model.ema_config
    assert cfg.optim_wrapper == host.optim_wrapper


@pytest.mark.parametrize(
    ('name', 'noise_size', 'feature_dim', 'prior_emb_dim'),
    [
        ('disp_sngan_anime100', 128, 1024, 128),
        ('disp_biggan_places2.5k', 120, 1536, 128),
        ('disp_biggan_cifar10', 128, 256, 128),
        ('disp_biggan_imagenet32_vgg16_gmm', 120, 256, 128),
        ('disp_biggan_lsun_bedroom_simclr_gmm', 120, 1536, 128),
    ],
)
def test_full_size_networks_have_the_papers_sizes(name, noise_size, feature_dim, prior_emb_dim):
    model = load(name).model
    model.pop('pretrained', None)
    with torch.device('meta'):
        gan = MODELS.build({**model, 'ema_config': None})
    assert gan.noise_size == noise_size
    g_emb = gan.generator.prior_projection[0].weight
    d_emb = next(gan.discriminator.prior_projection.parameters())
    prior_dim = 2048 if 'simclr' in name else 4096
    assert g_emb.shape == (prior_emb_dim, prior_dim) and d_emb.shape == (feature_dim, prior_dim)


@pytest.mark.parametrize(
    ('name', 'batch', 'disc_steps', 'steps'),
    [
        ('disp_sngan_faces100', 25, 4, 30_000),
        ('disp_biggan_cub6k', 256, 1, 5_000),
        ('disp_biggan_cifar100_20p', 50, 4, 100_000),
        ('disp_biggan_cifar100_vgg16_gmm', 64, 4, 100_000),
        ('disp_biggan_imagenet32_simclr_gmm', 64, 4, 200_000),
        ('disp_biggan_ffhq_vgg16_gmm', 64, 4, 100_000),
    ],
)
def test_schedules_count_batches_of_the_discriminator(name, batch, disc_steps, steps):
    cfg = load(name)
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.model.discriminator_steps == disc_steps
    assert cfg.train_cfg.max_iters == steps * disc_steps


@pytest.mark.parametrize('dataset', ['cifar10', 'cifar100', 'imagenet32', 'ffhq', 'lsun_bedroom'])
def test_the_large_scale_table_has_two_encoders_and_one_mixture(dataset):
    vgg16, simclr = (load(f'disp_biggan_{dataset}_{name}_gmm') for name in ('vgg16', 'simclr'))
    before, after = flatten(vgg16.to_dict()), flatten(simclr.to_dict())
    differing = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert {name_of(p) for p in differing if 'encoder' not in p} == {'prior_dim', 'bank_file'}
    assert (vgg16.prior_dim, simclr.prior_dim) == (4096, 2048)
    sampler = vgg16.model.sampler
    assert sampler.type == 'GMMPriorSampler' and sampler.num_components == 1000
    assert sampler.fit_subset == 200_000 and 'alpha' not in sampler
    assert vgg16.custom_hooks[0].type == 'GMMSamplerHook'
    assert vgg16.image_size == (128 if dataset in ('ffhq', 'lsun_bedroom') else 32)
    assert vgg16.model.get('pretrained') is None


def test_simclr_gives_the_pooled_features_of_a_checkpoint_of_openmmlab(tmp_path):
    import torchvision

    encoder_cfg = load('disp_biggan_cifar10_simclr_gmm').encoder
    with torch.random.fork_rng():
        torch.manual_seed(0)
        resnet50 = torchvision.models.resnet50(num_classes=1).eval()
        img = torch.rand(1, 3, 224, 224)
    resnet50.fc = torch.nn.Identity()
    tensors = {f'backbone.{name}': value for name, value in resnet50.state_dict().items()}
    tensors['neck.fc0.weight'] = torch.zeros(2048, 2048)
    torch.save({'state_dict': tensors}, tmp_path / 'simclr.pth')
    encoder = MODELS.build({**encoder_cfg, 'checkpoint': str(tmp_path / 'simclr.pth')})
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    with torch.no_grad():
        expected = resnet50((img - mean) / std)
    assert expected.shape == (1, load('disp_biggan_cifar10_simclr_gmm').prior_dim)
    torch.testing.assert_close(encoder(img), expected, rtol=1e-4, atol=1e-5)


def test_no_config_mirrors_digits_or_letters():
    for name in NAMES:
        steps = [step['type'] for step in train_dataset(load(name)).pipeline]
        assert ('Flip' in steps) != is_upright(name)


def test_a_folder_is_enough_and_its_bank_is_named_after_it(images):
    cfg = load('disp_biggan_folder', {'data_root': str(images)})
    assert train_dataset(cfg).data_root == str(images)
    banks = [s['bank_file'] for s in train_dataset(cfg).pipeline if 'bank_file' in s]
    assert banks == [cfg.bank_file] and images.name in cfg.bank_file
    assert cfg.model.generator.output_scale == cfg.image_size == 32
    assert math.log2(cfg.train_dataloader.batch_size).is_integer()
    assert np.all([cfg.train_cfg.max_iters == cfg.max_iters, cfg.max_iters > 0])
