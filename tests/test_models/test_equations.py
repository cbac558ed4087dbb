"""Equations (2) and (3) and their gradients against float64 formulas written out by hand."""

import pytest
import torch
from mmagic.structures import DataSample
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


def build(loss, gan_type):
    disc = PriorProjectionDiscriminator(LinearDiscriminator(), D, with_spectral_norm=False)
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


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    img = torch.rand(6, 3, 2, 2, generator=generator, dtype=torch.float64) * 2 - 1
    return DataSample(gt_img=img, gt_prior=torch.randn(6, D, generator=generator).double())


class Recorder(OptimWrapper):
    """Keeps the gradients of a step and takes none."""

    def __init__(self, module):
        super().__init__(torch.optim.SGD(module.parameters(), lr=1.0))

    def update_params(self, loss, *args, **kwargs):
        self.loss = loss
        loss.backward()


@pytest.mark.parametrize('gan_type', [DISPBigGAN, DISPSNGAN])
@pytest.mark.parametrize('loss', ['hinge', 'non_saturating', 'wasserstein'])
@pytest.mark.parametrize('part', ['discriminator', 'generator'])
def test_a_step_is_equation_2(part, loss, gan_type, batch, monkeypatch):
    gan = build(loss, gan_type)
    noise = torch.randn(6, 3).double()
    monkeypatch.setattr(gan, 'noise_fn', lambda num_batches: noise)
    monkeypatch.setattr(gan.prior_normalizer, 'forward', lambda p: p)
    seen = []
    gan.discriminator.register_forward_pre_hook(lambda module, args: seen.append(args))
    step = Recorder(getattr(gan, part))
    getattr(gan, f'train_{part}')({}, batch, step)
    # real and fake images of a step get the priors of the same images
    assert all(torch.equal(prior, batch.gt_prior) for _, prior in seen)
    trained = dict(getattr(gan, part).named_parameters())
    grads = {name: parameter.grad.clone() for name, parameter in trained.items()}
    if part == 'discriminator':
        assert all(parameter.grad is None for parameter in gan.generator.parameters())

    gan.zero_grad()
    fake = gan.generator(noise, batch.gt_prior)
    scores = [reference_score(gan, img, batch.gt_prior) for img in (batch.gt_img, fake)]
    expected = reference_losses(loss, *scores)[part == 'generator']
    expected.backward()
    torch.testing.assert_close(step.loss, expected)
    for name, parameter in trained.items():
        torch.testing.assert_close(grads[name], parameter.grad, msg=name)
