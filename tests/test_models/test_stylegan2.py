"""DISP-StyleGAN2's step against mmagic's own and against formulas; its discriminator; sampling."""

import copy
import itertools
import random

import pytest
import torch
from mmagic.models.editors.stylegan2 import StyleGAN2, StyleGAN2Discriminator
from mmagic.registry import MODELS
from mmengine import MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict

from disp_plugin.models import (
    DISPStyleGAN2,
    DISPStyleGAN2Generator,
    GeneratorPathRegularizer,
    PriorProjection,
    PriorProjectionDiscriminator,
    R1GradientPenalty,
    SizedStyleGAN2Discriminator,
)
from tests.numerics import assert_close_to_scale

D, WIDTH, SIZE, BATCH = 6, 8, 8, 4
LOSS_CONFIG = dict(
    r1_loss_weight=80.0,
    r1_interval=2,
    norm_mode='HWC',
    g_reg_weight=8.0,
    g_reg_interval=2,
    pl_batch_shrink=2,
)


def networks(prior_dim=D, mix_prob=0.9):
    torch.manual_seed(0)
    sizes = dict(channel_max=WIDTH, style_channels=WIDTH, num_mlps=2)
    generator = DISPStyleGAN2Generator(SIZE, prior_dim, mix_prob=mix_prob, **sizes)
    body = SizedStyleGAN2Discriminator(SIZE, channel_max=WIDTH)
    return generator, PriorProjectionDiscriminator(body, prior_dim, equalized_lr=True)


def build(prior_dim=D, mix_prob=0.9, **options):
    options.setdefault('loss_config', LOSS_CONFIG)
    options.setdefault('data_preprocessor', dict(type='DataPreprocessor'))
    return DISPStyleGAN2(*networks(prior_dim, mix_prob), prior_dim=prior_dim, **options)


class Samples(dict):
    """A stacked batch as mmagic's DataSample gives it: fields by name, and a length."""

    __getattr__ = dict.__getitem__

    def __len__(self):
        return BATCH


def make_batch():
    rng = torch.Generator().manual_seed(1)
    img = torch.rand(BATCH, 3, SIZE, SIZE, generator=rng) * 2 - 1
    return Samples(gt_img=img, gt_prior=torch.randn(BATCH, D, generator=rng))


@pytest.fixture(autouse=True)
def hub():
    """A message hub of its own, as each run has one."""
    hub = MessageHub.get_instance(f'test_{next(NUMBERS)}')
    hub.update_info('iter', 0)
    return hub


NUMBERS = itertools.count()


class Preprocessor(torch.nn.Module):
    def forward(self, data, training=False):
        return data


def sgd(network):
    return torch.optim.SGD(network.parameters(), 0.001)


def train(gan, steps, **options):
    """Some of mmagic's train_steps; give the logs."""
    gan.data_preprocessor = Preprocessor()
    wrappers = OptimWrapperDict(
        **{
            name: OptimWrapper(sgd(getattr(gan, name)), **options)
            for name in ('generator', 'discriminator')
        }
    )
    torch.manual_seed(2)
    random.seed(2)
    hub = MessageHub.get_instance(f'train_{next(NUMBERS)}')
    logs = []
    for step in range(steps):
        hub.update_info('iter', step)
        data = dict(inputs={}, data_samples=make_batch())
        logs.append(gan.train_step(data, wrappers))
    return logs


def test_without_priors_it_trains_what_mmagics_stylegan2_trains():
    ours = build(prior_dim=0, mix_prob=0.0, ema_config=dict(momentum=0.1))
    generator, discriminator = networks(0, mix_prob=0.0)
    # mmagic's own step neither mixes styles nor keeps their mean
    generator.register_forward_pre_hook(
        lambda module, args, kwargs: (args, {**kwargs, 'update_ws': False}), with_kwargs=True
    )
    host = StyleGAN2(
        generator,
        discriminator.discriminator,
        ema_config=dict(momentum=0.1),
        loss_config=LOSS_CONFIG,
    )
    logs, host_logs = train(ours, 5), train(host, 5)
    for part, other in (
        (ours.generator, host.generator),
        (ours.generator_ema, host.generator_ema),
        (ours.discriminator.discriminator, host.discriminator),
    ):
        theirs = other.state_dict()
        for name, value in part.state_dict().items():
            if not name.endswith('w_avg'):
                assert_close_to_scale(value.float(), theirs[name].float())
    moved = ours.discriminator.discriminator.final_linear[1].linear.weight_orig
    start = networks(0)[1].discriminator.final_linear[1].linear.weight_orig
    assert (moved - start).abs().max() > 1e-3
    mean = ours.gen_auxiliary_losses[0].mean_path_length
    assert mean > 0
    assert_close_to_scale(mean, host.mean_path_length)
    for log, host_log in zip(logs, host_logs, strict=True):
        for name in ('loss_r1_gp', 'loss_path_regular', 'loss_disc_real', 'loss_disc_fake'):
            assert (name in log) == (name in host_log), name
            if name in log:
                assert_close_to_scale(log[name], host_log[name])


def test_score_is_the_equalized_projection_added_to_the_discriminators_own():
    disc = networks()[1]
    img, prior = make_batch().gt_img, make_batch().gt_prior
    body = disc.discriminator
    own = body(img)
    features = []
    body.final_linear[1].linear.register_forward_pre_hook(lambda _, args: features.append(args[0]))
    body(img)
    weight = disc.prior_projection[0].weight_orig / D**0.5
    for row in range(BATCH):
        projection = features[0][row] @ (weight @ prior[row]) / WIDTH**0.5
        assert_close_to_scale(disc(img, prior)[row, 0], own[row, 0] + projection)


def test_r1_is_the_squared_gradient_of_the_conditional_score():
    gan = build()
    batch = make_batch()
    wrapper = OptimWrapper(sgd(gan.discriminator))
    before = copy.deepcopy(gan.discriminator)
    log = gan.train_discriminator({}, batch, wrapper)
    img = batch.gt_img.clone().requires_grad_()
    (grad,) = torch.autograd.grad(before(img, batch.gt_prior).sum(), img)
    expected = 80 * grad.square().sum(dim=(1, 2, 3)).mean()
    assert_close_to_scale(log['loss_r1_gp'], expected)
    # and not that of the score without the priors
    (grad,) = torch.autograd.grad(before.discriminator(img).sum(), img)
    assert not torch.isclose(expected, 80 * grad.square().sum(dim=(1, 2, 3)).mean(), rtol=0.01)


def test_a_loss_scaler_changes_neither_regularizer():
    generator, discriminator = networks()
    batch = make_batch()

    def generate(_, num_batches, **options):
        torch.manual_seed(7)
        return generator(torch.randn(num_batches, WIDTH), batch.gt_prior[:num_batches], **options)

    found = []
    for scaler in (None, torch.amp.GradScaler('cpu', init_scale=1024.0)):
        outputs = dict(
            disc=lambda img: discriminator(img, batch.gt_prior),
            real_imgs=batch.gt_img,
            gen=generate,
            batch_size=BATCH,
            step=0,
            loss_scaler=scaler,
        )
        found.append([R1GradientPenalty()(outputs), GeneratorPathRegularizer()(outputs)])
    for plain, scaled in zip(*found, strict=True):
        assert plain > 0
        assert_close_to_scale(plain, scaled)


def test_path_length_is_measured_on_the_priors_of_the_batch(monkeypatch):
    gan = build()
    seen = []
    forward = gan.generator.forward
    monkeypatch.setattr(
        gan.generator,
        'forward',
        lambda noise, prior=None, **kw: seen.append((prior, kw)) or forward(noise, prior, **kw),
    )
    batch = make_batch()
    wrapper = OptimWrapper(sgd(gan.generator))
    log = gan.train_generator({}, batch, wrapper)
    assert log['loss_path_regular'] > 0
    (step, _), (penalty, options) = seen
    assert torch.equal(step, batch.gt_prior)
    assert torch.equal(penalty, batch.gt_prior[: BATCH // 2]) and options['return_latents']


def test_path_length_is_the_length_of_the_jacobians_row():
    """The gradient of <image, noise> by the styles, taken by differences."""
    generator = networks()[0].eval().double()
    noise, prior = torch.randn(2, WIDTH).double(), make_batch().gt_prior[:2].double()

    def generate(_, num_batches, **options):
        return generator(noise, prior, randomize_noise=False, **options)

    loss = GeneratorPathRegularizer(
        loss_weight=1.0, interval=1, pl_batch_shrink=1, decay=0.0
    ).double()
    torch.manual_seed(6)
    found = loss(dict(gen=generate, batch_size=2, step=0))
    torch.manual_seed(6)
    latent = generate(None, 2, return_latents=True)['latent'].detach()
    direction = torch.randn(2, 3, SIZE, SIZE) / SIZE
    # images are rounded to float32, so differences are known to about 1e-7 / eps
    eps, grad = 3e-3, torch.zeros_like(latent).flatten(1)
    for index in range(grad.shape[1]):
        step = torch.zeros_like(grad)
        step[:, index] = eps
        images = [
            generator([styles], input_is_latent=True, randomize_noise=False).detach()
            for styles in (latent + step.view_as(latent), latent - step.view_as(latent))
        ]
        grad[:, index] = ((images[0] - images[1]) * direction).sum(dim=(1, 2, 3)) / (2 * eps)
    lengths = grad.view_as(latent).square().sum(dim=2).mean(dim=1).sqrt()
    torch.testing.assert_close(found, lengths.square().mean(), rtol=1e-3, atol=0)


def test_regularizers_come_at_their_intervals_and_weight_zero_turns_them_off():
    gan = build(discriminator_steps=2)
    logs = train(gan, 8)
    assert ['loss_r1_gp' in log for log in logs] == [True, False] * 4
    # G is updated at the odd iterations; by mmagic's own count path length would never be due
    assert ['loss_path_regular' in log for log in logs] == [False, True, False, False] * 2
    off = build(loss_config={**LOSS_CONFIG, 'r1_loss_weight': 0.0, 'g_reg_weight': 0.0})
    assert not any(k in log for log in train(off, 2) for k in ('loss_r1_gp', 'loss_path_regular'))


def test_gradient_accumulation_counts_updates_and_not_batches():
    gan = build()
    logs = train(gan, 8, accumulative_counts=2)
    # one update of two batches with R1, one without; G after each second batch
    assert ['loss_r1_gp' in log for log in logs] == [True, True, False, False] * 2
    assert ['loss_path_regular' in log for log in logs] == [False, True, False, False] * 2


def test_an_infinite_path_does_not_spoil_the_mean():
    generator, _ = networks()
    loss = GeneratorPathRegularizer(interval=1)
    is_broken = True

    def generate(_, num_batches, **options):
        prior = make_batch().gt_prior[:num_batches]
        out = generator(torch.randn(num_batches, WIDTH), prior, **options)
        out['fake_img'] = out['fake_img'] * (float('inf') if is_broken else 1.0)
        return out

    outputs = dict(gen=generate, batch_size=BATCH, step=0)
    assert not loss(outputs).isfinite()
    assert loss.mean_path_length == 0
    is_broken = False
    assert loss(outputs).isfinite() and loss.mean_path_length > 0


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(loss_config=dict(r1_gamma=3)), 'no field r1_gamma; it has r1_loss_weight'),
        (dict(disc_losses=dict(mine=dict(weight=1.0))), "model.disc_losses.mine has no 'type'"),
    ],
)
def test_a_loss_config_that_would_be_misread_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_regularizers_are_changed_and_turned_off_by_their_names():
    gan = build(disc_losses=dict(r1=dict(loss_weight=3.0)), gen_losses=dict(path_length=None))
    (r1,) = gan.disc_auxiliary_losses
    assert (r1.loss_weight, r1.interval) == (3.0, LOSS_CONFIG['r1_interval'])
    assert not list(gan.gen_auxiliary_losses or ())


def test_path_length_of_a_generator_without_styles_is_refused():
    model = dict(
        type='DISPSNGAN',
        prior_dim=D,
        generator=dict(type='DISPSNGANGenerator', output_scale=32, base_channels=4),
        gen_losses=dict(path_length=dict(type='GeneratorPathRegularizer')),
    )
    with pytest.raises(ValueError, match='DISPSNGANGenerator has none; leave it out of model'):
        MODELS.build(model)


def test_each_process_augments_with_numbers_of_its_own(monkeypatch):
    module = 'disp_plugin.distributed'
    disc = SizedStyleGAN2Discriminator(
        SIZE,
        channel_max=WIDTH,
        data_aug=dict(type='ADAAug', aug_pipeline=dict(brightness=1), augment_initial_p=1.0),
    )
    seen = []
    disc.convs.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    img = make_batch().gt_img
    monkeypatch.setattr(f'{module}.get_world_size', lambda: 2)
    after = []
    for rank in (0, 1, 0):
        monkeypatch.setattr(f'{module}.get_rank', lambda rank=rank: rank)
        torch.manual_seed(3)
        disc(img)
        after.append(torch.rand(3))
    assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[1])
    # and go on alike
    assert torch.equal(after[0], after[1])


def test_styles_are_mixed_as_often_as_the_generator_says():
    gan = build(mix_prob=0.75)
    draws = [gan.training_noise(2) for _ in range(400)]
    mixed = [noise for noise in draws if isinstance(noise, list)]
    assert 0.68 < len(mixed) / 400 < 0.82
    assert all(not torch.equal(first, second) for first, second in mixed)
    plain = build(mix_prob=0.0)
    assert all(isinstance(plain.training_noise(2), torch.Tensor) for _ in range(20))


def test_r1_can_be_given_to_any_gan_of_this_package():
    model = dict(
        type='DISPSNGAN',
        prior_dim=D,
        generator=dict(type='DISPSNGANGenerator', output_scale=32, base_channels=4),
        discriminator=dict(
            type='PriorProjectionDiscriminator',
            discriminator=dict(type='ProjDiscriminator', input_scale=32, base_channels=4),
        ),
        disc_losses=dict(r1=dict(type='R1GradientPenalty', loss_weight=1.0)),
    )
    gan = MODELS.build(model)
    batch = make_batch()
    batch['gt_img'] = torch.rand(BATCH, 3, 32, 32)
    wrapper = OptimWrapper(sgd(gan.discriminator))
    assert gan.train_discriminator({}, batch, wrapper)['loss_r1_gp'] > 0


def test_score_of_real_images_is_handed_to_the_augmentations_controller_without_a_graph(hub):
    gan = build()
    gan.train_discriminator({}, make_batch(), OptimWrapper(sgd(gan.discriminator)))
    scores = hub.get_info('disc_pred_real')
    assert scores.shape == (BATCH, 1) and not scores.requires_grad
    assert 'disc_pred_real' not in hub.state_dict()['runtime_info']


def test_the_averaged_generator_has_the_mean_style_of_the_generator():
    gan = build(ema_config=dict(momentum=0.1))
    train(gan, 3)
    assert gan.generator.w_avg.abs().sum() > 0
    assert torch.equal(gan.generator_ema.module.w_avg, gan.generator.w_avg)


def test_an_image_depends_on_its_noise_and_prior_alone():
    gan = build().eval()
    for conv in (gan.generator.conv1, *gan.generator.convs):
        torch.nn.init.ones_(conv.noise_injector.weight)
    noise, prior = torch.randn(4, WIDTH), torch.randn(4, D)
    whole = gan(dict(noise=noise, prior=prior))
    alone = gan(dict(noise=noise[2:3], prior=prior[2:3]))
    assert_close_to_scale(alone[0].fake_img, whole[2].fake_img)
    assert torch.equal(whole[2].prior, prior[2])
    anew = dict(noise=noise, prior=prior, sample_kwargs=dict(randomize_noise=True))
    assert not torch.equal(gan(anew)[0].fake_img, gan(anew)[0].fake_img)


def test_truncation_reaches_the_generator():
    gan = build().eval().requires_grad_(False)
    gan.generator.w_avg.normal_()
    inputs = dict(noise=torch.randn(3, WIDTH), prior=torch.randn(3, D))
    images = [
        torch.stack([s.fake_img for s in gan({**inputs, 'sample_kwargs': dict(truncation=psi)})])
        for psi in (1.0, 0.5, 0.0)
    ]
    spread = [image.std(dim=0).mean() for image in images]
    assert spread[0] > spread[1] > spread[2] == pytest.approx(0.0, abs=1e-5)


def test_truncation_beyond_the_styles_is_refused():
    gan = build().eval()
    inputs = dict(noise=torch.randn(1, WIDTH), prior=torch.randn(1, D))
    with pytest.raises(ValueError, match=r'truncation is 1.5; .* in \[0, 1\]'):
        gan({**inputs, 'sample_kwargs': dict(truncation=1.5)})


def test_everything_is_in_the_state_dict():
    gan = build()
    train(gan, 3)
    other = build()
    other.load_state_dict(gan.state_dict())
    mean = gan.gen_auxiliary_losses[0].mean_path_length
    assert mean > 0 and torch.equal(other.gen_auxiliary_losses[0].mean_path_length, mean)
    assert torch.equal(other.generator.w_avg, gan.generator.w_avg)
    assert 'mean_path_length' not in gan.state_dict()


class TestSizedDiscriminator:
    def test_at_its_full_width_it_is_mmagics(self):
        with torch.device('meta'):
            ours = SizedStyleGAN2Discriminator(128)
            host = StyleGAN2Discriminator(128)
        ours, host = ours.state_dict(), host.state_dict()
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in host.items()}

    def test_narrow_it_has_mmagics_names_and_fewer_channels(self):
        with torch.device('meta'):
            ours = SizedStyleGAN2Discriminator(32, channel_base=256, channel_max=20).state_dict()
            host = StyleGAN2Discriminator(32).state_dict()
        assert list(ours) == list(host)
        shapes = {name: tuple(value.shape) for name, value in ours.items()}
        assert shapes['convs.0.0.conv.weight_orig'] == (8, 3, 1, 1)
        assert shapes['convs.1.conv2.1.conv.weight_orig'] == (16, 8, 3, 3)
        assert shapes['convs.3.skip.1.conv.weight_orig'] == (20, 20, 1, 1)
        assert shapes['final_conv.0.conv.weight_orig'] == (20, 21, 3, 3)
        assert shapes['final_linear.0.linear.weight_orig'] == (20, 20 * 16)

    def test_options_of_the_layers_survive_the_narrowing(self):
        ours = SizedStyleGAN2Discriminator(
            16, channel_max=8, num_fp16_scales=1, convert_input_fp32=False, img_channels=1
        )
        host = StyleGAN2Discriminator(
            16, num_fp16_scales=1, convert_input_fp32=False, img_channels=1
        )
        for name, module in host.named_modules():
            for field in ('fp16_enabled', 'convert_input_fp32'):
                if hasattr(module, field):
                    assert getattr(ours.get_submodule(name), field) == getattr(module, field), name
        assert ours.convs[0][0].in_channels == 1

    def test_what_it_cannot_be_built_with_is_named(self):
        with pytest.raises(ValueError, match='no architecture for images of 20 px'):
            SizedStyleGAN2Discriminator(20)
        with pytest.raises(ValueError, match='channel_max .* must be a whole number from 1'):
            SizedStyleGAN2Discriminator(16, channel_max=0)


def test_arguments_that_cannot_be_are_named():
    with pytest.raises(ValueError, match='interval of R1GradientPenalty is 0'):
        R1GradientPenalty(interval=0)
    with pytest.raises(ValueError, match="norm_mode of R1 is 'L2'"):
        R1GradientPenalty(norm_mode='L2')
    with pytest.raises(ValueError, match='not both'):
        PriorProjection(3, 4, with_spectral_norm=True, equalized_lr=True)
