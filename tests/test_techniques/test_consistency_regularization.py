"""Consistency regularization: its number, its gradients, and its part in training."""

import functools
import random

import pytest
import torch
from torch import nn

from disp_plugin.models import DiscriminatorWrapper
from disp_plugin.techniques import ConsistencyRegularization
from tests.gans import SIZE, make_gan, train_gan
from tests.numerics import assert_close_to_scale

FLIP = dict(type='DiffAugment', policy='flip,translation')


class Affine(nn.Module):
    """An augmentation whose results can be told by hand."""

    def __init__(self, factor, shift):
        super().__init__()
        self.factor, self.shift = factor, shift

    def forward(self, img):
        return self.factor * img + self.shift


class Score(nn.Module):
    """A discriminator with a label: weight * (the image's mean)^2 + label."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, img, label):
        return self.weight * img.mean(dim=(1, 2, 3))[:, None] ** 2 + label[:, None]


def compute(own, augmentation, weight=10.0):
    """The loss, its gradient, and the means of four real images."""
    network = Score()
    disc = network if own is None else DiscriminatorWrapper(network, augmentation=own).train()
    disc = functools.partial(disc, label=torch.arange(4.0, dtype=torch.float64))
    img = torch.rand(4, 3, 2, 2, dtype=torch.float64)
    loss = ConsistencyRegularization(weight, augmentation=augmentation)(
        dict(disc=disc, real_imgs=img, disc_pred_real=disc(img), step=0)
    )
    loss.backward()
    return loss.item(), network.weight.grad.item(), img.mean(dim=(1, 2, 3))


class TestLoss:
    @pytest.mark.parametrize(
        ('own', 'augmentation', 'views'),
        [
            # D(x) and D(A(x))
            (None, Affine(2, 1), lambda x: (x, 2 * x + 1)),
            # D(T(x)) and D(x)
            (Affine(-1, 3), None, lambda x: (-x + 3, x)),
            # D(T(x)) and D(A(T(x))), as in the published code
            (Affine(-1, 3), Affine(2, 1), lambda x: (-x + 3, 2 * (-x + 3) + 1)),
        ],
        ids=['augmentation', 'own', 'both'],
    )
    def test_it_is_the_mean_squared_difference_of_two_scores(self, own, augmentation, views):
        loss, grad, means = compute(own, augmentation)
        first, second = views(means)
        difference = first**2 - second**2
        assert loss == pytest.approx(10 * (0.7 * difference).square().mean().item(), rel=1e-12)
        # of both scores: no gradient is stopped
        expected = 10 * (2 * 0.7 * difference.square()).mean().item()
        assert grad == pytest.approx(expected, rel=1e-12)

    def test_without_any_augmentation_it_is_refused(self):
        for own in (None, DiscriminatorWrapper(Score())):
            disc = Score() if own is None else own
            outputs = dict(disc=disc, real_imgs=torch.rand(2, 3, 2, 2), disc_pred_real=None, step=0)
            with pytest.raises(ValueError, match='the discriminator has none either; give it'):
                ConsistencyRegularization()(outputs)

    def test_it_is_computed_where_it_is_due(self):
        loss = ConsistencyRegularization(interval=2, augmentation=Affine(1, 1))
        assert loss(dict(step=1)) is None
        assert ConsistencyRegularization(0.0)(dict(step=0)) is None


@pytest.mark.parametrize('name', SIZE)
@pytest.mark.parametrize('own', [None, dict(type='DiffAugment', policy='translation')])
def test_it_is_logged_and_changes_what_is_learnt(name, own):
    def train(weight):
        loss = dict(type='ConsistencyRegularization', augmentation=None if own else FLIP)
        losses = dict(consistency=dict(loss, loss_weight=weight) if weight else None)
        gan = make_gan(name, discriminator=dict(augmentation=own), disc_losses=losses)
        torch.manual_seed(1)
        random.seed(1)  # of style mixing
        return train_gan(gan)[0], list(gan.discriminator.parameters())

    (logged, ours), (lighter, _), (without, plain) = map(train, (10.0, 5.0, None))
    assert logged['loss_consistency'] > 0
    assert_close_to_scale(logged['loss_consistency'], 2 * lighter['loss_consistency'])
    assert 'loss_consistency' not in without
    assert not all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


def test_an_adaptive_augmentation_that_nothing_steers_is_refused():
    with pytest.raises(ValueError, match='give it to model.discriminator instead'):
        ConsistencyRegularization(augmentation=dict(type='AdaptiveAugment'))
