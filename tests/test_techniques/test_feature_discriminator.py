"""Projected GAN: each number of a forward, what is frozen, what learns, resume, and refusals."""

import functools
import types

import pytest
import timm
import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from torch import nn

from disp_plugin.cli import prepare_run
from disp_plugin.cli.config import load_config
from disp_plugin.encoders import CheckpointEncoder
from disp_plugin.evaluation.metrics.feature_metrics import KernelDistanceMetric
from disp_plugin.models.precision_optim_wrapper import PrecisionOptimWrapper
from disp_plugin.models.pretrained import load_pretrained
from disp_plugin.techniques import FeatureDiscriminator
from tests.gans import ALL, PRIOR_DIM, TYPE, gan_config, make_gan, train_gan
from tests.numerics import assert_close_to_scale
from tests.test_hooks.tiny_runs import assert_same, build_runner, gan_cfg, load, save_bank, snapshot
from tests.test_models.test_two_processes import list_arguments, run_in_two_processes

BACKBONE = 'mobilenetv3_small_050'
SMALL = dict(
    type='FeatureDiscriminator', backbone=BACKBONE, strides=(4, 8), enlarge_to=32, base_channels=4
)
AUGMENTED = dict(SMALL, augmentation=dict(type='DiffAugment'))
UNPENALIZED = dict(loss='hinge', disc_losses=dict(r1=None), gen_losses=dict(path_length=None))
FIXED = ('.backbone.', '.channel_mixing.', '.scale_mixing.', '.mean', '.std')


def make(name='sngan', seed=0, **changes):
    """A tiny GAN with a FeatureDiscriminator."""
    torch.manual_seed(seed)
    config = gan_config(name, **{**UNPENALIZED, **changes})
    return MODELS.build(
        {**config, 'discriminator': changes.get('discriminator', AUGMENTED)}
    ).train()


def make_encoder(monkeypatch):
    """Register an encoder with random weights and statistics; give its network."""
    torch.manual_seed(1)
    network = timm.create_model(BACKBONE, num_classes=0).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.running_var):
                value.data.uniform_(0.5, 1.5)
            for value in (module.bias, module.running_mean):
                value.data.normal_(0, 0.2)
    encoder = types.SimpleNamespace(network=network, architecture=f'timm/{BACKBONE}')
    monkeypatch.setitem(MODELS._module_dict, 'GivenEncoder', lambda: encoder)
    return network


def resize(x, side, corners):
    return nn.functional.interpolate(x, (side, side), mode='bilinear', align_corners=corners)


def mix(state, name, x):
    weight, bias = state[f'{name}.weight'][:, :, 0, 0], state[f'{name}.bias']
    return torch.einsum('kc,nchw->nkhw', weight, x) + bias[:, None, None]


def convolve(state, name, x, **options):
    """A convolution by a weight that is divided by its spectral norm."""
    weight, u, v = (state[f'{name}.weight_{part}'] for part in ('orig', 'u', 'v'))
    sigma = u @ weight.flatten(1) @ v
    return nn.functional.conv2d(x, weight / sigma, state.get(f'{name}.bias'), **options)


def score(state, network, img, size, num_blocks, embs):
    """Equation (3) at each position, step by step in float64; images in [-1, 1], BGR."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).double()
    img = (resize(img.flip(1), size, False) + 1) / 2
    img = (img - mean[:, None, None]) / std[:, None, None]
    maps = network.forward_intermediates(img, indices=[1, 2, 3, 4], intermediates_only=True)
    mixed, coarser, scores = {}, 0, []
    for level in (3, 2, 1, 0):
        x = mix(state, f'channel_mixing.{level}', maps[level]) + coarser
        x = resize(x, 2 * x.shape[2], True)  # enlarged first, as published
        coarser = mixed[level] = mix(state, f'scale_mixing.{level}', x)
    for level, num in enumerate(num_blocks):
        x, head = mixed[level], f'heads.{level}'
        for block in range(num):
            x = convolve(state, f'{head}.layers.{3 * block}', x, stride=2, padding=1)
            norm = f'{head}.layers.{3 * block + 1}'
            names = ('running_mean', 'running_var', 'weight', 'bias')
            x = nn.functional.batch_norm(x, *(state[f'{norm}.{name}'] for name in names))
            x = torch.where(x > 0, x, 0.2 * x)
        found = convolve(state, f'{head}.decision', x)[:, 0]
        if embs:
            found = found + (convolve(state, f'{head}.match', x) * embs[level]).sum(1) / 8
        scores.append(found.flatten(1))
    return torch.cat(scores, 1)


def test_scores_are_those_of_the_formula(monkeypatch):
    network = make_encoder(monkeypatch)
    disc = FeatureDiscriminator(
        PRIOR_DIM, 40, BACKBONE, dict(type='GivenEncoder'), enlarge_to=96, base_channels=4
    )
    disc.init_weights()
    for module in disc.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    disc, network = disc.double().eval(), network.double()
    img, prior = torch.rand(2, 3, 40, 40).double() * 2 - 1, torch.randn(2, PRIOR_DIM).double()
    state = disc.discriminator.state_dict()
    widths = [len(state[f'heads.0.layers.{i}.weight_orig']) for i in (0, 3, 6)]
    assert widths == [8, 16, 32] and len(state['heads.2.layers.0.weight_orig']) == 32
    embs = []
    for project in disc.prior_projection:
        emb = prior @ project[0].weight.T + project[0].bias
        embs.append(torch.where(emb > 0, emb, 0.2 * emb)[:, :, None, None])
    # maps of 48, 24, 12 and 6 px become 6 px and k = 3 x 3 scores each
    parts = (state, network, img, 96, (3, 2, 1, 0))
    scores = disc(img, prior)
    assert scores.shape == (2, 36)
    assert_close_to_scale(scores, score(*parts, embs))
    # what a GAN with an embedding for each image is asked of unseen images
    assert_close_to_scale(disc.discriminator(img.flip(1)), score(*parts, None))


@pytest.mark.parametrize('prior_dim', [PRIOR_DIM, 0])
@pytest.mark.parametrize('name', ALL)
def test_heads_and_generators_learn_and_what_is_frozen_does_not_move(name, prior_dim):
    gan = make(name, prior_dim=prior_dim)
    before = {key: value.clone() for key, value in gan.state_dict().items()}
    logs = train_gan(gan, 3)
    assert all(torch.isfinite(value).all() for log in logs for value in log.values())
    after, learning = gan.state_dict(), {key for key, _ in gan.named_parameters()}
    fixed = {
        k for k in after if k.startswith('discriminator.') and any(part in k for part in FIXED)
    }
    assert len(fixed) > 50 and fixed.isdisjoint(learning)
    assert all(torch.equal(after[key], before[key]) for key in fixed)
    # but for the weights of noise in StyleGAN2, which begin as 0
    still = {key for key in learning if before[key].any() and torch.equal(after[key], before[key])}
    assert not still
    assert gan.discriminator.training
    assert not any(part.training for part in gan.discriminator.discriminator.backbone.modules())


def test_gradients_reach_each_pixel_but_no_fixed_weight():
    disc = FeatureDiscriminator(**{k: v for k, v in SMALL.items() if k != 'type'})
    img = torch.rand(2, 3, 32, 32, requires_grad=True)
    disc(img).sum().backward()
    assert (img.grad != 0).all()
    assert not any(value.requires_grad for value in disc.buffers())
    maps = disc.discriminator.extract_maps(img.detach())
    assert not any(x.requires_grad for x in maps)  # a step of D keeps no graph of the backbone


def test_a_checkpoint_holds_what_is_random_and_fixed():
    first, second = make(seed=0), make(seed=1)
    img, prior = torch.rand(2, 3, 32, 32), torch.randn(2, PRIOR_DIM)
    assert not torch.equal(
        first.eval().discriminator(img, prior), second.eval().discriminator(img, prior)
    )
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.discriminator(img, prior), second.discriminator(img, prior))


def test_conversion_to_synchronized_norms_finds_heads_only():
    disc = MODELS.build(SMALL).eval()
    img = torch.rand(2, 3, 32, 32)
    expected = disc(img)
    disc = nn.SyncBatchNorm.convert_sync_batchnorm(disc)
    assert torch.equal(disc(img), expected)
    kinds = {name for name, part in disc.named_modules() if isinstance(part, nn.SyncBatchNorm)}
    assert kinds and all('heads' in name for name in kinds)


def test_in_bfloat16_scores_are_float32_and_near():
    gan = make()
    train_gan(gan, 2, wrapper=functools.partial(PrecisionOptimWrapper, precision='bfloat16'))
    disc, img, prior = gan.eval().discriminator, torch.rand(4, 3, 32, 32), torch.randn(4, PRIOR_DIM)
    with torch.autocast('cpu', torch.bfloat16):
        scores = disc(img, prior)
    assert scores.dtype == torch.float32
    # two roundings in each of about fifty layers, of random signs
    assert_close_to_scale(scores, disc(img, prior), num_terms=20, dtype=torch.bfloat16)


def test_what_does_not_fit_is_refused(monkeypatch):
    with pytest.raises(ValueError, match='has batch norms.*leave model.score_jointly out'):
        make(score_jointly=True)
    for options, words in (
        (dict(backbone='resnet_of_mine'), "no network 'timm/resnet_of_mine'"),
        (dict(strides=(4, 12)), r'strides .* are \(4, 12\); timm/.* has 2, 4, 8, 16, 32'),
        (dict(strides=(8, 4)), 'from fine to coarse'),
        (dict(enlarge_to=36), 'sees images of 36 px, but the stride 8 needs a multiple of 8'),
        (dict(enlarge_to=8), 'from 16 on; set enlarge_to'),
    ):
        with pytest.raises(ValueError, match=words):
            MODELS.build({**SMALL, **options})
    make_encoder(monkeypatch)
    disc = MODELS.build(
        {**SMALL, 'backbone': 'test_efficientnet', 'weights': dict(type='GivenEncoder')}
    )
    with pytest.raises(ValueError, match='are of timm/mobilenetv3_small_050, which lacks'):
        disc.init_weights()
    missing = dict(type='TimmEncoder', model='tf_efficientnet_lite0', checkpoint='nowhere.pth')
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        prepare_run.check_weights(Config(dict(model=dict(discriminator=dict(weights=missing)))))


def test_a_generator_may_start_from_a_checkpoint_and_the_heads_anew(tmp_path):
    source, gan = make_gan('sngan', seed=3), make()
    torch.save(source.state_dict(), tmp_path / 'gan.pth')
    heads = {key: value.clone() for key, value in gan.discriminator.state_dict().items()}
    load_pretrained(gan, str(tmp_path / 'gan.pth'))
    for key, value in source.generator.state_dict().items():
        assert torch.equal(gan.generator.state_dict()[key], value)
    assert all(
        torch.equal(value, heads[key]) for key, value in gan.discriminator.state_dict().items()
    )


@pytest.mark.parametrize('name', TYPE)
def test_the_technique_fits_every_digits_config(name):
    cfg = load_config(f'configs/disp_{name}_digits.py', {}, None, ['feature_discriminator'])
    prepare_run.check_parts(cfg)  # networks built and run without values
    assert cfg.model.loss == 'hinge' and cfg.model.discriminator.type == 'FeatureDiscriminator'
    assert 'discriminator' not in cfg.model.discriminator


def test_numbers_of_its_own_family_say_that_they_flatter(monkeypatch):
    def make_own():
        return CheckpointEncoder(arch='timm/mobilenetv3_small_075', untrained=True)

    monkeypatch.setitem(MODELS._module_dict, 'OwnEncoder', make_own)
    notes = {}
    for kind in ('OwnEncoder', 'PixelEncoder'):
        for gan in (make(), make_gan('sngan')):
            metric = KernelDistanceMetric(dict(type=kind), kind)
            metric.reference = types.SimpleNamespace(describe=lambda mirrored: None)
            metric.prepare(gan, None)
            is_own = gan.discriminator.__class__ is FeatureDiscriminator
            notes[kind, is_own] = metric.protocol('kid', 8).flattery
    assert 'D was trained on features' in notes.pop(('OwnEncoder', True))
    assert set(notes.values()) == {''}


@pytest.mark.slow
def test_a_resumed_run_ends_as_the_uninterrupted_one(tmp_path, make_image_folder):
    folder = make_image_folder(tmp_path / 'images', num=10, size=20)
    bank = save_bank(tmp_path / 'bank.safetensors', torch.randn(10, 2, 6))

    def train(work_dir, seed, resume_from=None):
        torch.manual_seed(seed)
        model = gan_cfg('sngan', discriminator=AUGMENTED, discriminator_steps=1)
        runner = build_runner(folder, bank, model, tmp_path / work_dir, 6, resume_from=resume_from)
        runner.train()
        return load(runner, 6), snapshot(runner, 3)

    whole, stop = train('whole', 0)
    resumed, _ = train('resumed', 5, stop)
    for part in ('state_dict', 'optimizer', 'random_state'):
        assert_same(whole[part], resumed[part])
    names = [name for name in whole['state_dict'] if 'backbone' in name]
    assert names and len(names) == len({n.partition('backbone.')[2] for n in names})


@pytest.mark.slow
def test_two_processes_train_what_one_trains(repo_root, tool, digits_folder, tmp_path):
    network = dict(backbone=BACKBONE, weights=None, enlarge_to=32, strides=(4, 8), base_channels=4)
    options = [f'model.discriminator.{name}={value!r}' for name, value in network.items()]
    options.append('model.generator.base_channels=4')
    config, states = str(repo_root / 'configs/disp_sngan_digits.py'), []
    for num in (1, 2):
        arguments = list_arguments(num, tmp_path / str(num), digits_folder, options)
        arguments = ['--technique', 'feature_discriminator', *arguments]
        if num == 1:
            tool('train.py').main([config, *arguments])
        else:
            run_in_two_processes(repo_root, tmp_path, config, arguments)
        file = tmp_path / str(num) / 'iter_4.pth'
        states.append(torch.load(file, weights_only=False)['state_dict'])
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=2e-5, msg=name)
