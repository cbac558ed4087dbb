"""mmagic's own GANs with auxiliary losses and adaptive augmentation."""

import copy
import random

import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

from disp_plugin.models.losses import LazyLoss
from tests.gans import SIZE, TYPE, make_gan, train_gan
from tests.numerics import assert_close_to_scale

GANS = pytest.mark.parametrize('name', TYPE)
FLIP = dict(type='DiffAugment', policy='flip,translation')
CONSISTENCY = dict(type='ConsistencyRegularization', augmentation=FLIP)


def make(name, **changes):
    return make_gan(name, stock=True, type=f'Regularized{TYPE[name]}', **changes)


def weights(gan):
    return torch.cat([value.detach().flatten() for value in gan.discriminator.parameters()])


class Keep(LazyLoss):
    """An auxiliary loss that keeps what it is given."""

    name = 'loss_keep'

    def __init__(self):
        super().__init__(1.0, 1)
        self.kept = []

    def compute(self, outputs):
        self.kept.append(outputs)
        return outputs['disc_pred_real'].mean() * 0


@GANS
class TestAuxiliaryLoss:
    def test_without_one_the_host_trains_exactly_as_it_does(self, name):
        gans = [make_gan(name, stock=True), make(name)]
        logs = []
        for gan in gans:
            torch.manual_seed(1)
            random.seed(1)  # of style mixing
            logs.append(train_gan(gan, 2))
        assert torch.equal(weights(gans[0]), weights(gans[1]))
        assert logs[0][1].keys() == logs[1][1].keys()
        for key, value in logs[0][1].items():
            torch.testing.assert_close(logs[1][1][key], value, rtol=0, atol=0)

    def test_one_is_logged_is_in_the_sum_and_changes_what_is_learnt(self, name):
        def train(**options):
            gan = make(name, **options)
            torch.manual_seed(1)
            random.seed(1)
            return weights(gan), train_gan(gan)[0], weights(gan)

        before, logged, after = train(disc_losses=dict(consistency=CONSISTENCY))
        _, _, plain = train()
        assert logged['loss_consistency'] > 0
        parts = [value for key, value in logged.items() if key.startswith('loss_')]
        of_generator = logged['loss_gen']
        assert_close_to_scale(logged['loss'], sum(parts) - of_generator)
        assert not torch.equal(before, after)
        assert not torch.equal(plain, after)

    def test_it_finds_scores_images_and_the_discriminator_with_labels(self, name):
        gan = make(name)
        keep = Keep()
        gan.disc_auxiliary_losses = nn.ModuleList([keep])
        gan.discriminator.eval()  # so that a second score is the first
        frozen = copy.deepcopy(gan.discriminator)
        images = torch.randint(0, 256, (4, 3, *[SIZE[name]] * 2))
        train_gan(gan, images=images.to(torch.uint8))
        (outputs,) = keep.kept
        assert_close_to_scale(outputs['real_imgs'], images / 127.5 - 1)
        labels = {} if name == 'stylegan2' else {'label': torch.arange(4)}
        expected = frozen(outputs['real_imgs'], **labels)
        assert_close_to_scale(outputs['disc_pred_real'], expected)
        assert outputs['disc'].keywords.keys() == labels.keys()
        assert all(torch.equal(outputs['disc'].keywords[key], labels[key]) for key in labels)
        assert (outputs['step'], outputs['batch_size']) == (0, 4)

    def test_r1_can_be_one(self, name):
        losses = dict(r1=dict(type='R1GradientPenalty', interval=1), consistency=CONSISTENCY)
        host = dict(loss_config=dict(r1_interval=1000)) if name == 'stylegan2' else {}
        gan = make(name, disc_losses=losses, **host)
        logged = train_gan(gan, 2)[1]
        assert logged['loss_r1_gp'] > 0 and logged['loss_consistency'] > 0


def test_the_interval_counts_updates_where_gradients_are_accumulated():
    gan = make('biggan')
    keep = Keep()
    gan.disc_auxiliary_losses = nn.ModuleList([keep])
    step, accumulation = gan.train_step, 2

    def train_step(data, wrappers):
        wrappers['discriminator']._accumulative_counts = accumulation
        return step(data, wrappers)

    gan.train_step = train_step
    train_gan(gan, 4)
    assert [outputs['step'] for outputs in keep.kept] == [0, 0, 1, 1]


@pytest.mark.parametrize('name', ['sngan', 'biggan'])
def test_scores_are_handed_over_without_their_graph_and_not_saved(name, monkeypatch):
    kept, update = {}, MessageHub.update_info

    def keep(hub, key, value, resumed=True):
        kept[key] = (value, resumed)
        update(hub, key, value, resumed)

    monkeypatch.setattr(MessageHub, 'update_info', keep)
    train_gan(make(name))
    scores, resumed = kept['disc_pred_real']
    assert scores.shape[0] == 4 and not scores.requires_grad and not resumed
