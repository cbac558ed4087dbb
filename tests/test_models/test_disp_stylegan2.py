"""DISP-StyleGAN2's step against mmagic's own and against formulas, its regularizers, sampling."""

import copy
import random

import pytest
import torch
from mmagic.models.editors.stylegan2 import StyleGAN2
from mmengine import MessageHub
from mmengine.optim import OptimWrapper

from disp_plugin.models import GeneratorPathRegularizer, R1GradientPenalty
from tests.gans import PRIOR_DIM, WIDTH, draw, make_batch, make_gan, train_gan
from tests.numerics import assert_close_to_scale

BATCH = 4
LOSS_CONFIG = dict(
    r1_loss_weight=80.0,
    r1_interval=2,
    norm_mode='HWC',
    g_reg_weight=8.0,
    g_reg_interval=2,
    pl_batch_shrink=2,
)


def build(mix_prob=0.9, loss_config=LOSS_CONFIG, **options):
    generator = dict(mix_prob=mix_prob)
    return make_gan('stylegan2', generator=generator, loss_config=loss_config, **options)


def load_batch(gan):
    images = torch.randint(0, 256, (BATCH, 3, 8, 8), dtype=torch.uint8)
    return gan.data_preprocessor(make_batch(images), True)['data_samples']


def sgd(network):
    return OptimWrapper(torch.optim.SGD(network.parameters(), 0.001))


def train(gan, steps, **options):
    torch.manual_seed(2)
    random.seed(2)
    return train_gan(gan, steps, optimizer=torch.optim.SGD, **options)


def test_without_priors_it_trains_what_mmagics_stylegan2_trains():
    ours, start = (
        build(prior_dim=0, mix_prob=0.0, ema_config=dict(momentum=0.1)) for _ in range(2)
    )
    networks = copy.deepcopy((start.generator, start.discriminator.discriminator))
    # mmagic's own step neither mixes styles nor keeps their mean
    networks[0].register_forward_pre_hook(
        lambda module, args, kwargs: (args, {**kwargs, 'update_ws': False}), with_kwargs=True
    )
    host = StyleGAN2(
        *networks,
        data_preprocessor=dict(type='DataPreprocessor'),
        ema_config=dict(momentum=0.1),
        loss_config=LOSS_CONFIG,
    )
    logs, host_logs = train(ours, 5, lr=0.001), train(host, 5, lr=0.001)
    for part, other in (
        (ours.generator, host.generator),
        (ours.generator_ema, host.generator_ema),
        (ours.discriminator.discriminator, host.discriminator),
    ):
        theirs = other.state_dict()
        for name, value in part.state_dict().items():
            if not name.endswith('w_avg'):
                assert_close_to_scale(value.float(), theirs[name].float())
    moved, first = (
        gan.discriminator.discriminator.final_linear[1].linear.weight_orig for gan in (ours, start)
    )
    assert (moved - first).abs().max() > 1e-3
    mean = ours.gen_auxiliary_losses[0].mean_path_length
    assert mean > 0
    assert_close_to_scale(mean, host.mean_path_length)
    for log, host_log in zip(logs, host_logs, strict=True):
        for name in ('loss_r1_gp', 'loss_path_regular', 'loss_disc_real', 'loss_disc_fake'):
            assert (name in log) == (name in host_log), name
            if name in log:
                assert_close_to_scale(log[name], host_log[name])


def test_score_is_the_equalized_projection_added_to_the_discriminators_own():
    gan = build()
    batch, body = load_batch(gan), gan.discriminator.discriminator
    img, prior = batch.gt_img, batch.gt_prior
    features = []
    body.final_linear[1].linear.register_forward_pre_hook(lambda _, args: features.append(args[0]))
    own = body(img)
    weight = gan.discriminator.prior_projection[0].weight_orig / PRIOR_DIM**0.5
    projection = torch.einsum('nf,fd,nd->n', features[0], weight, prior) / WIDTH**0.5
    assert_close_to_scale(gan.discriminator(img, prior)[:, 0], own[:, 0] + projection)


def test_r1_is_the_squared_gradient_of_the_conditional_score():
    gan = build()
    batch, before = load_batch(gan), copy.deepcopy(gan.discriminator)
    log = gan.train_discriminator({}, batch, sgd(gan.discriminator))
    img = batch.gt_img.clone().requires_grad_()
    (grad,) = torch.autograd.grad(before(img, batch.gt_prior).sum(), img)
    expected = 80 * grad.square().sum(dim=(1, 2, 3)).mean()
    assert_close_to_scale(log['loss_r1_gp'], expected)
    # and not that of the score without the priors
    (grad,) = torch.autograd.grad(before.discriminator(img).sum(), img)
    assert not torch.isclose(expected, 80 * grad.square().sum(dim=(1, 2, 3)).mean(), rtol=0.01)


def test_r1_on_augmented_images_is_the_gradient_at_what_the_discriminator_sees():
    augmentation = torch.nn.Conv2d(3, 3, 1)  # any that has no random numbers
    r1 = dict(loss_weight=2.0, interval=1, on_augmented=True)
    gan = build(disc_losses=dict(r1=r1), discriminator=dict(augmentation=augmentation))
    batch, before = load_batch(gan), copy.deepcopy(gan.discriminator).train()
    log = gan.train_discriminator({}, batch, sgd(gan.discriminator))
    norms = []
    for on_augmented in (True, False):
        img = batch.gt_img.clone().requires_grad_()
        seen = augmentation(img).detach().requires_grad_() if on_augmented else img
        score = before(seen, batch.gt_prior, augment=not on_augmented)
        (grad,) = torch.autograd.grad(score.sum(), seen)
        norms.append(grad.square().sum(dim=(1, 2, 3)).mean())
    assert_close_to_scale(log['loss_r1_gp'], 2 * norms[0])
    assert not torch.isclose(norms[0], norms[1], rtol=0.01)


def test_r1_can_be_given_to_any_gan_of_this_package():
    losses = dict(r1=dict(type='R1GradientPenalty', loss_weight=1.0))
    assert train_gan(make_gan('sngan', disc_losses=losses))[0]['loss_r1_gp'] > 0


def test_both_regularizers_are_those_of_float32_under_autocast():
    gan = build()
    batch = load_batch(gan)

    def generate(_, num_batches, **options):
        torch.manual_seed(7)
        noise = torch.randn(num_batches, gan.noise_size)
        return gan.generator(noise, batch.gt_prior[:num_batches], **options)

    outputs = dict(
        disc=lambda img: gan.discriminator(img, batch.gt_prior),
        real_imgs=batch.gt_img,
        gen=generate,
        batch_size=BATCH,
        step=0,
    )
    expected = R1GradientPenalty()(outputs), GeneratorPathRegularizer()(outputs)
    with torch.autocast('cpu', torch.bfloat16):
        found = R1GradientPenalty()(outputs), GeneratorPathRegularizer()(outputs)
    assert min(expected) > 0 and found == expected


def test_path_length_is_measured_on_the_priors_of_the_batch(monkeypatch):
    gan = build()
    seen = []
    forward = gan.generator.forward
    monkeypatch.setattr(
        gan.generator,
        'forward',
        lambda noise, prior=None, **kw: seen.append((prior, kw)) or forward(noise, prior, **kw),
    )
    batch = load_batch(gan)
    log = gan.train_generator({}, batch, sgd(gan.generator))
    assert log['loss_path_regular'] > 0
    (step, _), (penalty, options) = seen
    assert torch.equal(step, batch.gt_prior)
    assert torch.equal(penalty, batch.gt_prior[: BATCH // 2]) and options['return_latents']


def test_regularizers_come_at_their_intervals_and_weight_zero_turns_them_off():
    logs = train(build(discriminator_steps=2), 8)
    assert ['loss_r1_gp' in log for log in logs] == [True, False] * 4
    # G is updated at the odd iterations; by mmagic's own count path length would never be due
    assert ['loss_path_regular' in log for log in logs] == [False, True, False, False] * 2
    off = build(loss_config={**LOSS_CONFIG, 'r1_loss_weight': 0.0, 'g_reg_weight': 0.0})
    assert not any(k in log for log in train(off, 2) for k in ('loss_r1_gp', 'loss_path_regular'))


def test_gradient_accumulation_counts_updates_and_not_batches():
    logs = train(build(), 8, accumulative_counts=2)
    # one update of two batches with R1, one without; G after each second batch
    assert ['loss_r1_gp' in log for log in logs] == [True, True, False, False] * 2
    assert ['loss_path_regular' in log for log in logs] == [False, True, False, False] * 2


def test_an_infinite_path_does_not_spoil_the_mean():
    gan, loss = build(), GeneratorPathRegularizer(interval=1)
    is_broken = True

    def generate(_, num_batches, **options):
        out = gan.generator(*draw(gan, num_batches), **options)
        out['fake_img'] = out['fake_img'] * (float('inf') if is_broken else 1.0)
        return out

    outputs = dict(gen=generate, batch_size=BATCH, step=0)
    assert not loss(outputs).isfinite()
    assert loss.mean_path_length == 0
    is_broken = False
    assert loss(outputs).isfinite() and loss.mean_path_length > 0


def test_regularizers_are_changed_and_turned_off_by_their_names():
    gan = build(disc_losses=dict(r1=dict(loss_weight=3.0)), gen_losses=dict(path_length=None))
    (r1,) = gan.disc_auxiliary_losses
    assert (r1.loss_weight, r1.interval) == (3.0, LOSS_CONFIG['r1_interval'])
    assert not list(gan.gen_auxiliary_losses or ())


def test_arguments_that_cannot_be_are_named():
    with pytest.raises(ValueError, match='no field r1_gamma; it has r1_loss_weight'):
        build(loss_config=dict(r1_gamma=3))
    with pytest.raises(ValueError, match='interval of R1GradientPenalty is 0'):
        R1GradientPenalty(interval=0)
    with pytest.raises(ValueError, match="norm_mode of R1 is 'L2'"):
        R1GradientPenalty(norm_mode='L2')


def test_styles_are_mixed_as_often_as_the_generator_says():
    gan = build(mix_prob=0.75)
    draws = [gan.training_noise(2) for _ in range(400)]
    mixed = [noise for noise in draws if isinstance(noise, list)]
    assert 0.68 < len(mixed) / 400 < 0.82
    assert all(not torch.equal(first, second) for first, second in mixed)
    plain = build(mix_prob=0.0)
    assert all(isinstance(plain.training_noise(2), torch.Tensor) for _ in range(20))


def test_score_of_real_images_is_handed_to_the_augmentations_controller_without_a_graph():
    gan, hub = build(), MessageHub.get_instance('scores')
    gan.train_discriminator({}, load_batch(gan), sgd(gan.discriminator))
    scores = hub.get_info('disc_pred_real')
    assert scores.shape == (BATCH, 1) and not scores.requires_grad
    assert 'disc_pred_real' not in hub.state_dict()['runtime_info']


def test_mean_style_and_mean_path_are_averaged_and_saved():
    gan = build(ema_config=dict(momentum=0.1))
    train(gan, 3)
    assert gan.generator.w_avg.abs().sum() > 0
    assert torch.equal(gan.generator_ema.module.w_avg, gan.generator.w_avg)
    other = build(ema_config=dict(momentum=0.1))
    other.load_state_dict(gan.state_dict())
    mean = gan.gen_auxiliary_losses[0].mean_path_length
    assert mean > 0 and torch.equal(other.gen_auxiliary_losses[0].mean_path_length, mean)
    assert torch.equal(other.generator.w_avg, gan.generator.w_avg)
    assert 'mean_path_length' not in gan.state_dict()


def test_an_image_depends_on_its_noise_and_prior_alone():
    gan = build().eval()
    for conv in (gan.generator.conv1, *gan.generator.convs):
        torch.nn.init.ones_(conv.noise_injector.weight)
    noise, prior = draw(gan)
    whole = gan(dict(noise=noise, prior=prior))
    alone = gan(dict(noise=noise[2:3], prior=prior[2:3]))
    assert_close_to_scale(alone[0].fake_img, whole[2].fake_img)
    assert torch.equal(whole[2].prior, prior[2])
    anew = dict(noise=noise, prior=prior, sample_kwargs=dict(randomize_noise=True))
    assert not torch.equal(gan(anew)[0].fake_img, gan(anew)[0].fake_img)


def test_truncation_reaches_the_generator_and_beyond_the_styles_is_refused():
    gan = build().eval().requires_grad_(False)
    gan.generator.w_avg.normal_()
    noise, prior = draw(gan)

    def sample(psi):
        found = gan(dict(noise=noise, prior=prior, sample_kwargs=dict(truncation=psi)))
        return torch.stack([sample.fake_img for sample in found])

    spread = [sample(psi).std(dim=0).mean() for psi in (1.0, 0.5, 0.0)]
    assert spread[0] > spread[1] > spread[2] == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(ValueError, match=r'truncation is 1.5; .* in \[0, 1\]'):
        sample(1.5)
