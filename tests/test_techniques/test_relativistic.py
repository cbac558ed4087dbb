"""R3GAN's loss against a float64 formula: pairs of one prior, R1, R2 and their schedule."""

import math

import pytest
import torch
from mmagic.structures import DataSample

from disp_plugin.cli.config import load_config
from disp_plugin.models import DISPSNGAN, R1GradientPenalty
from tests.gans import ALL, make_gan, train_gan
from tests.numerics import assert_close_to_scale
from tests.test_models.test_equations import Recorder, build, reference_score

R2 = dict(type='R1GradientPenalty', loss_weight=0.5, interval=1, images='fake')
R1 = dict(R2, images='real')


@pytest.fixture
def batch():
    img, prior = torch.rand(6, 3, 2, 2).double() * 2 - 1, torch.randn(6, 7).double()
    return DataSample(gt_img=img, gt_prior=prior)


@pytest.mark.parametrize('part', ['discriminator', 'generator'])
def test_a_step_compares_each_real_image_with_the_fake_one_of_its_prior(part, batch, monkeypatch):
    gan, noise = build('relativistic', DISPSNGAN), torch.randn(6, 3).double()
    monkeypatch.setattr(gan, 'noise_fn', lambda num_batches: noise)
    monkeypatch.setattr(gan.prior_normalizer, 'forward', lambda p: p)
    step = Recorder(getattr(gan, part))
    getattr(gan, f'train_{part}')({}, batch, step)
    trained = dict(getattr(gan, part).named_parameters())
    grads = {name: parameter.grad.clone() for name, parameter in trained.items()}
    gan.zero_grad()
    fake = gan.generator(noise, batch.gt_prior)
    real_score, fake_score = (
        reference_score(gan, img, batch.gt_prior) for img in (batch.gt_img, fake)
    )
    margin = real_score - fake_score if part == 'discriminator' else fake_score - real_score
    expected = -torch.log(torch.sigmoid(margin)).mean()
    expected.backward()
    assert_close_to_scale(step.loss, expected)
    for name, parameter in trained.items():
        assert_close_to_scale(grads[name], parameter.grad)


def test_r2_is_the_squared_gradient_at_the_fake_images():
    """Of D(x) = sum(a x^3), whose gradient is 3 a x^2."""
    factor, fake = torch.randn(3, 4, 4).double(), torch.randn(3, 3, 4, 4).double()

    def score(img):
        return (factor * img**3).sum(dim=(1, 2, 3), keepdim=True).flatten(1)

    found = R1GradientPenalty(0.5, 1, images='fake')(dict(disc=score, fake_imgs=fake, step=0))
    assert_close_to_scale(found, 0.5 * ((3 * factor * fake**2) ** 2).sum() / 3)


def test_the_weight_falls_along_half_a_cosine():
    penalty = R1GradientPenalty(1.0, 1, final_weight=0.1, decay_steps=100)
    for step in (0, 25, 50, 99):
        decay = 0.5 * (1 + math.cos(math.pi * step / 100))
        assert penalty.weight_at(step) == pytest.approx(1.0 + (1 - decay) * (0.1 - 1.0))
    assert penalty.weight_at(100) == penalty.weight_at(10**6) == pytest.approx(0.1)
    assert R1GradientPenalty(1.0, 1).weight_at(10**6) == 1.0


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('score_jointly', [False, True])
def test_every_gan_takes_it(name, score_jointly):
    if score_jointly and name == 'stylegan2':
        pytest.skip('its discriminator compares the images of a batch')
    options = dict(gen_losses=dict(path_length=None), score_jointly=score_jointly)
    gan = make_gan(name, loss='relativistic', disc_losses=dict(r1=R1, r2=R2), **options)
    logs = train_gan(gan, 2)
    losses = {key for key in logs[1] if 'loss' in key and key != 'loss'}
    assert losses == {'loss_disc_pair', 'loss_r1_gp', 'loss_r2_gp', 'loss_gen_pair'}
    assert all(value.isfinite() and value > 0 for log in logs for value in [log['loss_r2_gp']])


def test_penalties_without_weight_change_nothing():
    weightless = {'r1': dict(R1, loss_weight=0.0), 'r2': dict(R2, loss_weight=0.0)}
    states = []
    for losses in (None, weightless):
        gan = make_gan('sngan', loss='relativistic', disc_losses=losses)
        torch.manual_seed(1)
        train_gan(gan, 2)
        states.append(gan.state_dict())
    assert all(torch.equal(states[1][key], value) for key, value in states[0].items())


def test_in_bfloat16_penalties_are_those_of_float32():
    gan = make_gan('sngan', loss='relativistic', disc_losses=dict(r1=R1, r2=R2)).eval()
    prior, img = torch.randn(2, gan.prior_dim), torch.rand(2, 3, 32, 32)
    outputs = dict(disc=lambda x: gan.discriminator(x, prior), fake_imgs=img, step=0)
    penalty = R1GradientPenalty(1.0, 1, images='fake')
    expected = penalty(outputs)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(penalty(outputs), expected)


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="images of R1GradientPenalty is 'both'"):
        R1GradientPenalty(images='both')
    for options in (dict(final_weight=0.1), dict(decay_steps=5)):
        with pytest.raises(ValueError, match='needs both'):
            R1GradientPenalty(**options)


@pytest.mark.parametrize('config', ['sngan', 'biggan', 'stylegan2'])
def test_the_technique_names_both_penalties(config, repo_root):
    cfg = load_config(repo_root / f'configs/disp_{config}_digits.py', techniques=['r3gan'])
    r1, r2 = cfg.model.disc_losses.r1, cfg.model.disc_losses.r2
    assert (cfg.model.loss, r1.images, r2.images) == ('relativistic', 'real', 'fake')
    assert r1.loss_weight == r2.loss_weight == 10 * r1.final_weight == 1.0
