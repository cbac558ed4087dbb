"""Equations (2) and (3) and their gradients against float64 formulas written out by hand."""

import pytest
import torch
from mmengine.optim import OptimWrapper

from disp_plugin.models import DISPSNGAN, DISPBigGAN, PriorProjectionDiscriminator

D, F = 7, 5


class LinearDiscriminator(torch.nn.Module):
    """D_f is a matrix and a tanh, D_l is linear: small enough to write down."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(12, F)
        self.decision = torch.nn.Linear(F, 1)

    def forward(self, img):
        return self.decision(torch.tanh(self.body(img.flatten(1))))


class LinearGenerator(torch.nn.Module):
    def __init__(self, noise_size=3):
        super().__init__()
        self.noise_size, self.prior_dim = noise_size, D
        self.body = torch.nn.Linear(noise_size + D, 12)

    def forward(self, noise, prior=None, return_noise=False):
        return torch.tanh(self.body(torch.cat([noise, prior], 1))).view(-1, 3, 2, 2)


class DataSamples:
    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __contains__(self, name):
        return name in self.__dict__


def build(loss, gan_type=DISPBigGAN, with_spectral_norm=False):
    torch.manual_seed(0)
    disc = PriorProjectionDiscriminator(
        LinearDiscriminator(), D, with_spectral_norm=with_spectral_norm
    )
    gan = gan_type(LinearGenerator(), disc, prior_dim=D, loss=loss)
    return gan.double()


def reference_score(gan, img, prior):
    """D_emb(p) . D_f(x) + D_l(D_f(x)), from the parameters alone."""
    disc = gan.discriminator
    body, decision = disc.discriminator.body, disc.discriminator.decision
    (d_emb,) = disc.prior_projection.parameters()
    scores = []
    for x, p in zip(img.flatten(1), prior, strict=True):
        feature = torch.tanh(body.weight @ x + body.bias)
        scores.append((d_emb @ p) @ feature + decision.weight[0] @ feature + decision.bias[0])
    return torch.stack(scores)


def reference_losses(loss, real, fake):
    """(L_D, L_G) of Table 10's three losses."""
    if loss == 'hinge':
        disc = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
        return disc, -fake.mean()
    if loss == 'wasserstein':
        return fake.mean() - real.mean(), -fake.mean()
    disc = (-torch.log(torch.sigmoid(real))).mean() + (-torch.log(1 - torch.sigmoid(fake))).mean()
    return disc, (-torch.log(torch.sigmoid(fake))).mean()


def make_batch(num=6):
    generator = torch.Generator().manual_seed(1)
    img = torch.rand(num, 3, 2, 2, generator=generator, dtype=torch.float64) * 2 - 1
    prior = torch.randn(num, D, generator=generator)
    noise = torch.randn(num, 3, generator=generator, dtype=torch.float64)
    return img, prior, noise


class Recorder(OptimWrapper):
    """Keeps the gradients of a step and takes none."""

    def update_params(self, loss, *args, **kwargs):
        self.loss = loss
        loss.backward()


def recorder(module):
    return Recorder(torch.optim.SGD(module.parameters(), lr=1.0))


@pytest.mark.parametrize('gan_type', [DISPBigGAN, DISPSNGAN])
@pytest.mark.parametrize('loss', ['hinge', 'non_saturating', 'wasserstein'])
def test_discriminator_step_is_equation_2(loss, gan_type, monkeypatch):
    gan = build(loss, gan_type)
    img, prior, noise = make_batch()
    monkeypatch.setattr(gan, 'noise_fn', lambda num_batches: noise)
    monkeypatch.setattr(gan.prior_normalizer, 'forward', lambda p: p.double())
    step = recorder(gan.discriminator)
    gan.train_discriminator({}, DataSamples(gt_img=img, gt_prior=prior), step)
    grads = {n: p.grad.clone() for n, p in gan.discriminator.named_parameters()}
    assert all(p.grad is None for p in gan.generator.parameters())

    gan.zero_grad()
    fake = gan.generator(noise, prior.double()).detach()
    real_score = reference_score(gan, img, prior.double())
    fake_score = reference_score(gan, fake, prior.double())
    expected, _ = reference_losses(loss, real_score, fake_score)
    expected.backward()
    torch.testing.assert_close(step.loss, expected)
    for name, parameter in gan.discriminator.named_parameters():
        torch.testing.assert_close(grads[name], parameter.grad, msg=name)


@pytest.mark.parametrize('loss', ['hinge', 'non_saturating', 'wasserstein'])
def test_generator_step_is_equation_2(loss, monkeypatch):
    gan = build(loss)
    img, prior, noise = make_batch()
    monkeypatch.setattr(gan, 'noise_fn', lambda num_batches: noise)
    monkeypatch.setattr(gan.prior_normalizer, 'forward', lambda p: p.double())
    step = recorder(gan.generator)
    gan.train_generator({}, DataSamples(gt_img=img, gt_prior=prior), step)
    grads = [p.grad.clone() for p in gan.generator.parameters()]

    gan.zero_grad()
    fake_score = reference_score(gan, gan.generator(noise, prior.double()), prior.double())
    _, expected = reference_losses(loss, fake_score, fake_score)
    expected.backward()
    torch.testing.assert_close(step.loss, expected)
    torch.testing.assert_close(grads, [p.grad for p in gan.generator.parameters()])


def test_real_and_fake_of_a_step_get_the_priors_of_the_same_images(monkeypatch):
    gan = build('hinge')
    img, prior, _ = make_batch()
    seen = []
    forward = gan.discriminator.forward
    monkeypatch.setattr(
        gan.discriminator, 'forward', lambda x, p: seen.append((x, p)) or forward(x, p)
    )
    monkeypatch.setattr(gan.prior_normalizer, 'forward', lambda p: p.double())
    monkeypatch.setattr(gan, 'noise_fn', lambda num_batches: make_batch()[2])
    gan.train_discriminator({}, DataSamples(gt_img=img, gt_prior=prior), recorder(gan))
    (fake_img, fake_prior), (real_img, real_prior) = seen
    assert torch.equal(real_img, img) and not torch.equal(fake_img, img)
    assert torch.equal(fake_prior, prior.double()) and torch.equal(real_prior, prior.double())


def test_unknown_loss_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"loss is 'hing'; it must be one of hinge, non_saturating"
    ):
        build('hing')


def test_batch_without_priors_is_refused_with_the_way_out():
    gan = build('hinge')
    img, _, _ = make_batch()
    with pytest.raises(ValueError, match=r"carries no 'gt_prior'.*LoadPrior"):
        gan.train_discriminator({}, DataSamples(gt_img=img), recorder(gan))
