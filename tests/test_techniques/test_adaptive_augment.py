"""ADA in each of the GANs: what it does to images, and a probability that moves once a step."""

import pytest
import torch
from mmagic.models.losses import r1_gradient_penalty_loss
from mmagic.registry import MODELS

from disp_plugin import distributed
from disp_plugin.techniques import AdaptiveAugment
from tests.gans import SIZE, make_gan, make_runner, train_gan
from tests.numerics import assert_close_to_scale

GANS = pytest.mark.parametrize('name', SIZE)
KINDS = pytest.mark.parametrize('stock', [False, True], ids=['disp', 'stock'])
STOCK_TYPE = {
    'sngan': 'RegularizedSNGAN',
    'biggan': 'RegularizedBigGAN',
    'stylegan2': 'StyleGAN2',
}
# no mean of signs is below this target: p rises with every update, by a thousandth an image
RISING = dict(type='AdaptiveAugment', update_interval=2, ada_target=-2.0, ada_kimg=1)


def make(name, stock, augmentation, **changes):
    """A GAN with ADA."""
    if stock:
        changes['type'] = STOCK_TYPE[name]
    return make_gan(name, stock, discriminator=dict(augmentation=augmentation), **changes)


class TestImages:
    @pytest.mark.parametrize('size', [8, 16, 32])
    def test_images_are_changed_at_1_and_kept_at_0(self, size):
        img = torch.rand(6, 3, size, size) * 2 - 1
        changed = AdaptiveAugment(augment_initial_p=1.0)(img)
        assert ((changed - img).abs().flatten(1).mean(dim=1) > 0.05).all()
        kept = AdaptiveAugment(augment_initial_p=0.0)(img)
        assert_close_to_scale(kept, img)

    def test_r1_goes_through_it(self):
        augment = AdaptiveAugment(augment_initial_p=1.0)
        weight = torch.randn(3, 16, 16, requires_grad=True)

        def score(images):
            return (augment(images).tanh() * weight).flatten(1).sum(dim=1)

        r1_gradient_penalty_loss(score, torch.rand(4, 3, 16, 16)).backward()
        assert torch.isfinite(weight.grad).all() and weight.grad.abs().max() > 0

    def test_mixed_precision_does_not_move_places_and_colors(self):
        augment, img = AdaptiveAugment(augment_initial_p=1.0), torch.rand(4, 3, 16, 16)
        found = []
        for enabled in (False, True):
            torch.manual_seed(1)
            with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
                found.append(augment(img))
        torch.testing.assert_close(*found, rtol=0, atol=0)

    def test_each_process_draws_for_its_own_images(self, monkeypatch):
        augment, img = AdaptiveAugment(augment_initial_p=1.0), torch.rand(4, 3, 16, 16)
        monkeypatch.setattr(distributed, 'get_world_size', lambda: 2)
        found, after = [], []
        for rank in range(2):
            monkeypatch.setattr(distributed, 'get_rank', lambda rank=rank: rank)
            torch.manual_seed(1)
            found.append(augment(img))
            after.append(torch.rand(1))
        assert not torch.allclose(*found)
        assert torch.equal(*after)

    def test_operations_can_be_chosen(self):
        img = torch.rand(40, 3, 8, 8)
        found = AdaptiveAugment(dict(xflip=1), augment_initial_p=1.0)(img)
        # its low-pass filter is not symmetric, so that flipped noise is not quite the flipped noise
        to_flipped = (found - img.flip(3)).abs().amax(dim=(1, 2, 3))
        to_img = (found - img).abs().amax(dim=(1, 2, 3))
        assert torch.minimum(to_flipped, to_img).max() < 0.3
        assert torch.maximum(to_flipped, to_img).min() > 0.5
        assert 5 < (to_flipped < to_img).sum() < 35


@GANS
@KINDS
class TestInTraining:
    def test_p_moves_once_a_step_of_d_and_is_logged(self, name, stock):
        gan = make(name, stock, RISING, discriminator_steps=4)
        logged = [float(step['augment']) for step in train_gan(gan, 5)]
        # batches of 4, an update after every second one, 1000 images for 1.0
        assert logged == pytest.approx([0, 0.008, 0.008, 0.016, 0.016])
        assert gan.discriminator.augmentation.aug_pipeline.p.item() == pytest.approx(0.016)

    def test_it_follows_the_signs_of_real_images_scores(self, name, stock):
        slow = dict(type='AdaptiveAugment', update_interval=100)
        gan = make(name, stock, slow, discriminator_steps=9)
        scores = []
        gan.discriminator.register_forward_hook(
            lambda module, args, found: scores.append(found.detach())
        )
        train_gan(gan)
        signs = scores[1].sign().sum().item()  # fake images come first
        assert gan.discriminator.augmentation.log_buffer.tolist() == [4, signs]


def test_p_falls_below_the_target():
    falling = dict(RISING, ada_target=2.0, augment_initial_p=0.5)
    logged = train_gan(make('sngan', False, falling), 4)
    assert float(logged[-1]['augment']) == pytest.approx(0.5 - 0.016)


def test_a_gan_that_hands_no_scores_over_says_what_to_take():
    gan = make_gan('biggan', True, discriminator=dict(augmentation=RISING))
    with pytest.raises(RuntimeError, match='take RegularizedBigGAN or RegularizedSNGAN'):
        train_gan(gan)


@pytest.mark.parametrize('name', ['sngan', pytest.param('stylegan2', marks=pytest.mark.slow)])
def test_p_and_its_counts_go_on_where_a_run_was_stopped(name, tmp_path):
    first = make_runner(make(name, False, RISING), tmp_path, 5, 5).train()
    assert first.discriminator.augmentation.aug_pipeline.p.item() == pytest.approx(0.016)
    assert first.discriminator.augmentation.log_buffer[0] == 4  # the fifth iteration's
    gan = make(name, False, RISING)
    assert gan.discriminator.augmentation.aug_pipeline.p == 0
    resumed = make_runner(gan, tmp_path, 8, 5, resume=True)
    resumed.train()
    assert gan.discriminator.augmentation.aug_pipeline.p.item() == pytest.approx(0.032)
    history, _ = resumed.message_hub.get_scalar('train/augment').data
    assert history[-3:] == pytest.approx([0.024, 0.024, 0.032])


def test_defaults_are_those_published():
    """stylegan2-ada-pytorch: train.py's 'bgc' and target, training_loop.py's interval and kimg."""
    augment = MODELS.build(dict(type='AdaptiveAugment'))
    pipe = augment.aug_pipeline
    geometry = ['xflip', 'rotate90', 'xint', 'scale', 'rotate', 'aniso', 'xfrac']
    colors = ['brightness', 'contrast', 'lumaflip', 'hue', 'saturation']
    assert [getattr(pipe, name) for name in geometry + colors] == [1.0] * 12
    assert [getattr(pipe, name) for name in ('imgfilter', 'noise', 'cutout')] == [0.0] * 3
    assert (augment.update_interval, augment.ada_target, augment.ada_kimg) == (4, 0.6, 500)
    assert pipe.p == 0
