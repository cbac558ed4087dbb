"""GLANN reconstructs without a discriminator; its sampler draws latents; it resumes exactly."""

import copy

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch.nn import functional

from disp_plugin.applications import draw_inputs, sample_images
from disp_plugin.cli.config import load_config
from disp_plugin.priors import PriorBank
from disp_plugin.techniques import PerceptualDistance
from tests.gans import PRIOR_DIM, gan_config, make_batch
from tests.numerics import assert_close_to_scale
from tests.test_hooks.tiny_runs import assert_same, build_runner, gan_cfg, load, save_bank, snapshot
from tests.test_models.test_two_processes import run_in_two_processes

ENCODER = dict(
    type='CheckpointEncoder',
    arch='timm/resnet18',
    untrained=True,
    in_size=16,
    arch_kwargs=dict(channels=[4, 8, 8, 16]),
)
LAYERS = ['conv1', 'layer1', 'layer2', 'layer3', 'layer4']
PERCEPTUAL = dict(type='PerceptualDistance', encoder=ENCODER, layers=LAYERS)
SAMPLER = dict(type='IMLESampler', num_epochs=2)
NAMES = ('sngan', 'biggan', 'stylegan2')
CHANGES = dict(type='GLANN', discriminator=None, perceptual=PERCEPTUAL, sampler=SAMPLER)


def make_glann(name='sngan', **changes):
    if changes.get('per_image'):
        changes = dict(prior_dim=8, **changes)
    generator = changes.pop('generator', None)
    config = {**gan_config(name, generator=generator), **copy.deepcopy(CHANGES), **changes}
    torch.manual_seed(0)
    return MODELS.build(config).train()


def train(gan, images, priors=None, num_steps=1, lr=1e-3):
    """Take steps on one batch of all images; give the losses."""
    rates = [
        dict(params=[p], lr=lr * (10 if 'prior_projection' in name else 1))
        for name, p in gan.generator.named_parameters()
    ]
    wrappers = OptimWrapperDict(generator=OptimWrapper(torch.optim.Adam(rates, betas=(0.5, 0.999))))
    hub = MessageHub.get_instance('glann')
    batch, losses = make_batch(images), []
    for row, sample in enumerate(batch['data_samples']):
        if priors is not None:
            sample.gt_prior = priors[row]
    for index in range(num_steps):
        hub.update_info('iter', index)
        losses.append(gan.train_step(copy.deepcopy(batch), wrappers)['loss_perceptual'].item())
    return losses


def draw_images(num=8, size=32):
    return torch.randint(0, 256, (num, 3, size, size), dtype=torch.uint8)


@pytest.fixture(scope='module')
def distance():
    return PerceptualDistance(ENCODER, LAYERS)


@torch.no_grad()
def compare_by_hand(features, one, other, num_layers):
    """Mean absolute differences of pixels and of what layers give, in float64."""
    total = (one - other).double().abs().mean()
    for first, second in zip(features(one)[:num_layers], features(other)[:num_layers], strict=True):
        total = total + (first.double() - second.double()).abs().mean()
    return total


@pytest.mark.parametrize(
    ('size', 'scales'),
    [(16, [(1, 2)]), (32, [(1, 3)]), (64, [(1, 4)]), (128, [(1, 5), (4, 4)])],
)
def test_larger_images_are_compared_in_more_layers_and_at_two_scales(distance, size, scales):
    network, kept = MODELS.build(ENCODER).network, []
    for layer in LAYERS:
        network.get_submodule(layer).register_forward_hook(
            lambda module, args, out: kept.append(out.clone())
        )

    def features(img):
        kept.clear()
        network(img)
        return list(kept)

    one, other = torch.rand(2, 2, 3, size, size) * 2 - 1
    expected = 0
    for factor, num_layers in scales:
        small = [img.unflatten(3, (-1, factor)).unflatten(2, (-1, factor)) for img in (one, other)]
        small = [img.mean((3, 5)) for img in small]
        expected = expected + compare_by_hand(features, *small, num_layers)
    assert_close_to_scale(distance(one, other), expected.float())
    assert distance(one, one) == 0
    assert_close_to_scale(distance(other, one), expected.float())


@pytest.mark.slow
def test_the_default_is_vgg16_as_the_published_code_looks_into_it():
    """Of which ReLUs in place change what was taken before them, but for the last layer."""
    encoder = dict(type='TorchvisionEncoder', model='vgg16', untrained=True)
    distance = PerceptualDistance(encoder)
    network = MODELS.build(encoder).network.features
    one, other = torch.rand(2, 1, 3, 16, 16) * 2 - 1

    def features(img):
        relu = torch.relu(network[1](network[0](img)))
        first = network[2](relu).relu()
        x = network[5](network[4](first)).relu()
        return [first, network[7](x)]

    assert_close_to_scale(distance(one, other), compare_by_hand(features, one, other, 2).float())
    one, other = torch.rand(2, 1, 3, 65, 65)
    assert distance(one, other) > 0


def test_the_network_is_frozen_and_no_part_of_the_model():
    gan = make_glann()
    network = gan.perceptual.extractors[-1]
    before = copy.deepcopy(network.state_dict())
    train(gan, draw_images(), torch.rand(8, PRIOR_DIM), num_steps=2)
    assert_same(before, network.state_dict())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(name.startswith('generator.') for name, _ in gan.named_parameters())
    assert not any('perceptual' in key for key in gan.state_dict())


def test_images_are_compared_in_rgb():
    gan, images, seen = make_glann(), draw_images(), []
    gan.perceptual = lambda fake, real: seen.append(real) or fake.mean()
    train(gan, images, torch.rand(8, PRIOR_DIM))
    assert_close_to_scale(seen[0], (images.flip(1).float() - 127.5) / 127.5)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('per_image', [True, False])
def test_the_generator_gets_unit_vectors_of_what_is_embedded(name, per_image):
    gan = make_glann(name, per_image=per_image, prior_norm='l2')
    seen = []
    gan.generator.generator.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].detach())
    )
    size = gan.image_size
    images, priors = draw_images(size=size), torch.rand(8, PRIOR_DIM)
    weight = gan.generator.prior_projection[0].weight.detach().double().clone()
    train(gan, images, None if per_image else priors)
    rows = weight.T if per_image else functional.normalize(priors.double()) @ weight.T
    assert_close_to_scale(seen[0], functional.normalize(rows).float())
    # of any latents that come from a sampler, too
    gan.generator(7 * seen[0])
    assert_close_to_scale(seen[1], seen[0])
    gan.eval()
    first, second = (gan.generator(seen[0]) for _ in range(2))
    assert torch.equal(first, second) and first.shape == (8, 3, size, size)


def test_free_latents_are_brought_back_to_length_1_after_each_epoch():
    gan = make_glann(per_image=True)
    weight = gan.generator.prior_projection[0].weight
    assert weight.std().item() == pytest.approx(0.01, rel=0.5)
    lengths = []
    for images in (draw_images(4), draw_images(8)):
        train(gan, images)  # the first of two batches of an epoch, or all of it
        lengths.append(weight.norm(dim=0).detach().clone())
    assert (lengths[0] - 1).abs().min() > 0.1
    assert_close_to_scale(lengths[1], torch.ones(8))


@pytest.mark.slow
@pytest.mark.parametrize('per_image', [True, False])
def test_eight_digits_are_overfitted_tenfold(per_image):
    from sklearn.datasets import load_digits

    pixels = torch.from_numpy(load_digits().images[:8]).float()[:, None] / 16 * 255
    images = functional.interpolate(pixels, 32).byte().expand(-1, 3, -1, -1)
    gan = make_glann(per_image=per_image, generator=dict(base_channels=16))
    priors = None if per_image else torch.randn(8, PRIOR_DIM)
    losses = train(gan, images, priors, num_steps=400, lr=2e-3)
    assert min(losses[-20:]) < losses[0] / 10


@pytest.mark.parametrize('per_image', [True, False])
def test_what_is_sampled_is_made_of_latents_of_the_sampler(per_image):
    gan = make_glann(per_image=per_image, ema_config=dict(type='ExponentialMovingAverage'))
    gan.eval()
    with pytest.raises(RuntimeError, match='IMLESampler is not fitted'):
        draw_inputs(gan, 5, seed=0)
    bank = None if per_image else PriorBank([*'abcdefgh'], torch.rand(8, 2, PRIOR_DIM))
    sampled = gan.find_sampled(bank)
    with torch.no_grad():
        prior = torch.eye(8) if per_image else torch.from_numpy(bank.priors[:, 0])
        expected = gan.generator_ema.module.embed(prior)
    assert torch.equal(torch.from_numpy(sampled.priors[:, 0]), expected)
    gan.sampler.fit(sampled)
    noise, prior = draw_inputs(gan, 5, seed=0)
    assert prior is None
    latents = gan.sampler.sample(64, torch.Generator().manual_seed(0))[:5]
    assert torch.equal(noise, latents)
    (images,) = sample_images(gan, noise, prior)
    assert images.shape == (5, 32, 32, 3)
    samples = gan({'num_batches': 3})
    assert len(samples) == 3 and samples[0].noise.shape == (gan.noise_size,)
    assert 'prior' not in samples[0]
    train(gan.train(), draw_images(), None if per_image else torch.rand(8, PRIOR_DIM))
    assert not gan.sampler.is_fitted  # to latents that have moved


def test_mistakes_are_told():
    with pytest.raises(ValueError, match='GLANN trains without a discriminator, but'):
        make_glann(discriminator=dict(freeze=dict(type='FreezeD')))
    with pytest.raises(ValueError, match='GLANN needs prior_dim'):
        make_glann(prior_dim=0)
    with pytest.raises(ValueError, match=r"no layer 'layer9'; some it has: .*layer4"):
        PerceptualDistance(ENCODER, ['layer1', 'layer9'])
    with pytest.raises(ValueError, match='layers of a network, but got .* of PixelEncoder'):
        PerceptualDistance(dict(type='PixelEncoder'), LAYERS)
    with pytest.raises(ValueError, match='makes images of .3, 32, 32., but the training images'):
        train(make_glann(), draw_images(size=16), torch.rand(8, PRIOR_DIM))
    with pytest.raises(ValueError, match='GLANN needs model.perceptual'):
        train(make_glann(perceptual=None), draw_images(), torch.rand(8, PRIOR_DIM))


@pytest.mark.parametrize('name', NAMES)
def test_the_methods_work_on_any_config(name, digits_folder):
    options = {'data_root': str(digits_folder), 'model.perceptual.encoder': ENCODER}
    options['model.perceptual.layers'] = LAYERS
    for method, per_image, prior_dim, norm, epochs in (
        ('glann', True, 100, 'none', 500),
        ('glann_disp', False, 128, 'centered_l2', 4000),
    ):
        cfg = load_config(f'configs/disp_{name}_digits.py', options, method)
        gan = MODELS.build(cfg.model)
        assert (gan.per_image, gan.prior_dim) == (per_image, prior_dim)
        assert gan.discriminator is None and gan.prior_normalizer.mode == norm
        assert set(cfg.optim_wrapper) == {'constructor', 'generator'}
        assert bool(cfg.train_dataloader.dataset.bank_file) != per_image
        assert cfg.train_cfg.max_iters * cfg.train_dataloader.batch_size == 100 * epochs
        assert gan.generator(prior=torch.randn(2, prior_dim)).shape == (2, 3, 16, 16)


def make_runner(folder, bank_file, work_dir, per_image, max_iters, resume_from=None, **options):
    """A run of a tiny SNGAN of 16 px, with a schedule and a sample grid."""
    model = gan_cfg('sngan', **copy.deepcopy(CHANGES))
    if per_image:
        model.update(per_image=True, prior_dim=10, prior_norm='none')
    part = dict(
        optimizer=dict(type='Adam', lr=0.001, betas=(0.5, 0.999)),
        paramwise_cfg=dict(custom_keys=dict(prior_projection=dict(lr_mult=10.0))),
    )
    return build_runner(
        folder,
        bank_file,
        model,
        work_dir,
        max_iters,
        optim_wrapper=dict(constructor='MultiOptimWrapperConstructor', generator=part),
        param_scheduler=dict(generator=dict(type='StepLR', by_epoch=False, step_size=2, gamma=0.5)),
        hooks=[dict(type='EMABatchNormHook', num_batches=2, batch_size=4)],
        resume_from=resume_from,
        **options,
    )


@pytest.mark.slow
@pytest.mark.parametrize('per_image', [True, False])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(per_image, make_image_folder, tmp_path):
    folder = make_image_folder(tmp_path / 'images', num=10, size=20)
    bank_file = save_bank(tmp_path / 'bank.safetensors', torch.randn(10, 2, 6))
    whole = make_runner(folder, bank_file, tmp_path / 'whole', per_image, 7)
    whole.train()
    torch.manual_seed(9)
    stop = snapshot(whole, 3)
    resumed = make_runner(folder, bank_file, tmp_path / 'resumed', per_image, 7, stop)
    resumed.train()
    states = [load(run, 7) for run in (whole, resumed)]
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'random_state'):
        assert_same(*(state[part] for state in states))
    rates = {g['lr'] for g in states[0]['optimizer']['generator']['param_groups']}
    assert rates == {0.001 / 8, 0.01 / 8}
    # each checkpoint samples by what was fitted to its own latents
    gan = whole.model
    for iteration in (3, 7):
        gan.load_state_dict(load(whole, iteration)['state_dict'])
        fitted = MODELS.build(SAMPLER)
        fitted.fit(gan.find_sampled(None if per_image else PriorBank.open(bank_file)))
        assert_same(fitted.state_dict(), gan.sampler.state_dict())
    assert all(value.isfinite().all() for value in gan.state_dict().values())


OPTIONS = [
    *('train_dataloader.num_workers=0', 'train_cfg.max_iters=4', 'model.ema_config.start_iter=0'),
    *('default_hooks.checkpoint.interval=4', 'model.generator.base_channels=8'),
    # Adam's first steps are signs of gradients; a large epsilon keeps them continuous
    'optim_wrapper.generator.optimizer.eps=0.01',
    f'model.perceptual.encoder={ENCODER}',
    f'model.perceptual.layers={LAYERS}',
    'model.sampler.num_epochs=2',
]


@pytest.mark.slow
def test_two_processes_train_and_sample_what_one_does(repo_root, digits_folder, tool, tmp_path):
    config = str(repo_root / 'configs/disp_sngan_digits.py')
    states = []
    for num in (1, 2):
        arguments = [
            *('--method', 'glann', '--work-dir', str(tmp_path / str(num)), '--cfg-options'),
            *(f'data_root={digits_folder}', f'batch_size={32 // num}', *OPTIONS),
        ]
        if num == 1:
            tool('train.py').main([config, *arguments])
        else:
            run_in_two_processes(repo_root, tmp_path, config, arguments)
        states.append(torch.load(tmp_path / str(num) / 'iter_4.pth', weights_only=False))
    one, two = (state['state_dict'] for state in states)
    assert one.keys() == two.keys() and one['sampler.weight3'].numel()
    for name, value in one.items():
        if not name.startswith(('sampler.', 'generator_ema.')):  # fitted to what rounds apart
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-5, msg=name)
    lengths = two['generator.prior_projection.0.weight'].norm(dim=0)
    assert_close_to_scale(lengths, torch.ones(100))  # an epoch of 4 batches has ended


@pytest.mark.slow
@pytest.mark.parametrize('method', ['glann', 'glann_disp'])
def test_the_tools_work_on_its_checkpoint(method, repo_root, digits_folder, tool, tmp_path, capsys):
    run = tmp_path / 'run'
    options = [f'data_root={digits_folder}', *OPTIONS]
    if method == 'glann_disp':
        options += [f'bank_file={tmp_path / "bank"}', f'encoder={ENCODER}', 'prior_dim=16']
    config = str(repo_root / 'configs/disp_biggan_digits.py')
    tool('train.py').main(
        [config, '--method', method, '--work-dir', str(run), '--cfg-options', *options]
    )
    capsys.readouterr()
    tool('evaluate.py').main([str(run), '--num-images', '50'])
    said = capsys.readouterr()
    assert 'DiscriminatorGapMetric is left out: this GAN has no discriminator' in (
        said.out + said.err
    )
    refitted = tmp_path / 'gaussian.pth'
    tool('fit_sampler.py').main(
        [
            *(str(run), '--out', str(refitted), '--sampler'),
            *('type=GMMPriorSampler', 'num_components=1', 'pca_variance=None'),
        ]
    )
    for checkpoint in (run, refitted):
        out = tmp_path / f'{checkpoint.stem}_samples'
        tool('sample.py').main([str(checkpoint), '--out', str(out), '--num', '4'])
        assert len(list(out.glob('*.png'))) == 4
