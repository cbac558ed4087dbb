"""DiffAugment, number by number, and what a discriminator sees in each of the GANs."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from disp_plugin.techniques import DiffAugment, diff_augment
from tests.gans import SIZE, make_gan, train_gan
from tests.numerics import assert_close_to_scale

SIZES = [(32, 32), (16, 16), (17, 23), (8, 6), (1, 1)]


def shift_by_loop(image, down, right):
    """Fill each place from `down` rows below it and `right` columns beside it, else with zero."""
    _, height, width = image.shape
    moved = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row + down < height and 0 <= column + right < width:
                moved[:, row, column] = image[:, row + down, column + right]
    return moved


def augment_by_loop(image, draws):
    """The published operations on one image, from its seven uniform numbers."""
    image = image.astype(np.float64) + (draws[0] - 0.5)
    image = (image - image.mean(axis=0)) * (draws[1] * 2) + image.mean(axis=0)
    image = (image - image.mean()) * (draws[2] + 0.5) + image.mean()
    sides = image.shape[1:]
    limits = [math.floor(side * 0.125 + 0.5) for side in sides]
    # integers from -limit to limit, both included
    down, right = (
        -limit + math.floor(draw * (2 * limit + 1))
        for limit, draw in zip(limits, draws[3:5], strict=True)
    )
    image = shift_by_loop(image, down, right)
    cuts = [math.floor(side * 0.5 + 0.5) for side in sides]
    centers = [
        math.floor(draw * (side + (1 - cut % 2)))
        for side, cut, draw in zip(sides, cuts, draws[5:7], strict=True)
    ]
    for row in range(cuts[0]):
        for column in range(cuts[1]):
            y = min(max(row + centers[0] - cuts[0] // 2, 0), sides[0] - 1)
            x = min(max(column + centers[1] - cuts[1] // 2, 0), sides[1] - 1)
            image[:, y, x] = 0
    return image


class TestOperations:
    @pytest.mark.parametrize('size', SIZES, ids=str)
    def test_each_image_is_that_of_the_published_operations(self, size):
        images = torch.rand(12, 3, *size, dtype=torch.float64) * 2 - 1
        torch.manual_seed(3)
        found = DiffAugment()(images)
        torch.manual_seed(3)
        draws = torch.rand(12, 7).numpy()
        for image, own, expected in zip(images.numpy(), draws, found.numpy(), strict=True):
            np.testing.assert_allclose(augment_by_loop(image, own), expected, rtol=0, atol=1e-6)

    def test_operations_are_done_in_the_order_of_the_policy(self):
        images = torch.rand(50, 3, 8, 8) + 1
        last = DiffAugment('color,cutout')(images)
        first = DiffAugment('cutout, color')(images)
        zeros = [(found == 0).all(dim=1).flatten(1).any(dim=1) for found in (last, first)]
        assert zeros[0].all()
        assert not zeros[1].any()  # colors have changed the zeros

    @pytest.mark.parametrize('ratio', [0.125, 0.25, 0.0])
    def test_translations_are_all_those_in_reach_both_ends_included(self, ratio):
        images = torch.zeros(2000, 3, 16, 8)
        images[:, :, 8, 4] = 1
        found = DiffAugment('translation', translation_ratio=ratio)(images)
        _, rows, columns = found[:, 0].nonzero().unbind(1)
        for places, center, side in ((rows, 8, 16), (columns, 4, 8)):
            reach = round(side * ratio)
            counts = torch.bincount(places, minlength=side)
            expected = 2000 / (2 * reach + 1)
            assert counts[center - reach : center + reach + 1].sum() == 2000
            deviation = (counts[center - reach : center + reach + 1] - expected).abs()
            assert (deviation <= 5 * math.sqrt(expected)).all()

    # a cutout of 4 pixels is also centered at the far border, one of 3 pixels is not
    @pytest.mark.parametrize(('side', 'num_centers'), [(8, 9), (6, 6)])
    def test_cutouts_are_centered_at_all_published_places(self, side, num_centers):
        size = side // 2
        found = DiffAugment('cutout')(torch.ones(3000, 3, side, side))
        expected = {
            tuple(first <= place < first + size for place in range(side))
            for first in range(-(size // 2), num_centers - size // 2)
        }
        assert len(expected) == num_centers
        gone = found[:, 0] == 0
        for axis in (1, 2):
            seen = {tuple(rows) for rows in gone.any(dim=axis).tolist()}
            assert seen == expected
        assert found.unique().tolist() == [0, 1]

    def test_colors_are_drawn_from_the_published_ranges(self):
        # saturation scales the difference of channels, brightness moves the mean, and contrast
        # scales both differences
        images = torch.zeros(4000, 3, 2, 2)
        images[:, :, 0] = torch.tensor([-0.5, 0.0, 0.5])[:, None]
        images[:, :, 1] = 1.0
        found = DiffAugment('color')(images)
        mean = found.mean(dim=(1, 2, 3)) - 0.5
        contrast = found[:, :, 1].mean(dim=(1, 2)) - found[:, :, 0].mean(dim=(1, 2))
        saturation = (found[:, 2, 0, 0] - found[:, 0, 0, 0]) / contrast
        for values, low, high in ((mean, -0.5, 0.5), (contrast, 0.5, 1.5), (saturation, 0, 2)):
            assert low - 1e-4 <= values.min() < low + 0.01 * (high - low)
            assert high - 0.01 * (high - low) < values.max() <= high + 1e-4
            assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.04)

    def test_half_of_the_images_are_flipped(self):
        images = torch.rand(1000, 3, 2, 5)
        found = DiffAugment('flip')(images)
        flipped = (found == images.flip(3)).flatten(1).all(dim=1)
        kept = (found == images).flatten(1).all(dim=1)
        assert (flipped ^ kept).all()
        assert 430 < flipped.sum() < 570

    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
    def test_the_type_of_images_is_kept(self, dtype):
        images = torch.rand(4, 3, 8, 8).to(dtype)
        assert DiffAugment('color,translation,cutout,flip')(images).dtype == dtype


def test_first_and_second_derivatives_are_those_of_finite_differences():
    def augment(images):
        torch.manual_seed(5)
        return DiffAugment('color,translation,cutout,flip', translation_ratio=0.5)(images)

    images = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(augment, images)
    assert gradgradcheck(lambda x: augment(x).tanh(), images)


def test_processes_together_see_what_one_with_the_whole_batch_sees(monkeypatch):
    images = torch.rand(6, 3, 8, 8)
    torch.manual_seed(1)
    expected = DiffAugment()(images)
    after = torch.rand(1)
    monkeypatch.setattr(diff_augment, 'get_world_size', lambda: 3)
    for rank in range(3):
        monkeypatch.setattr(diff_augment, 'get_rank', lambda rank=rank: rank)
        torch.manual_seed(1)
        assert_close_to_scale(DiffAugment()(images[rank::3]), expected[rank::3])
        assert torch.rand(1) == after


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'policy': 'color,translate'},
            "policy of DiffAugment is 'color,translate', and there is no operation 'translate'; "
            'give one or more of color, translation, cutout, flip, joined by commas',
        ),
        ({'policy': ''}, "policy of DiffAugment is '', and there is no operation ''"),
        ({'cutout_ratio': 1.5}, r'cutout_ratio of DiffAugment is 1.5; it must be in \[0, 1\]'),
        ({'translation_ratio': -1}, 'translation_ratio of DiffAugment is -1; it must be in'),
    ],
)
def test_what_cannot_be_done_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DiffAugment(**options)


@pytest.mark.parametrize('stock', [False, True], ids=['disp', 'stock'])
@pytest.mark.parametrize('name', SIZE)
class TestInTraining:
    def test_both_steps_show_the_discriminator_augmented_images(self, name, stock):
        augmentation = dict(type='DiffAugment', policy='cutout')
        gan = make_gan(name, stock, discriminator=dict(augmentation=augmentation))
        seen = []
        gan.discriminator.discriminator.register_forward_pre_hook(
            lambda module, args: seen.append((args[0] == 0).all(dim=1).float().mean(dim=(1, 2)))
        )
        train_gan(gan, images=torch.full((4, 3, *[SIZE[name]] * 2), 200, dtype=torch.uint8))
        # fake images, real ones, those of R1 in StyleGAN2, and fake ones in the generator's step
        assert len(seen) == (4 if name == 'stylegan2' else 3)
        for shares in seen:
            # a quarter of all pixels, a sixteenth where the center is a corner
            assert (shares >= 1 / 16).all() and (shares <= 1 / 4 + 0.02).all()

    def test_the_generator_learns_through_it(self, name, stock):
        def gradients(augmentation):
            gan = make_gan(name, stock, discriminator=dict(augmentation=augmentation))
            kept = {}

            def keep(module, args):
                if args[0].requires_grad:  # in the generator's step, which is the last
                    args[0].register_hook(lambda grad: kept.update(grad=grad))

            gan.discriminator.register_forward_pre_hook(keep)
            train_gan(gan)
            return kept['grad']

        plain = gradients(None)
        cut = gradients(dict(type='DiffAugment', policy='cutout'))
        assert not (plain == 0).all(dim=1).any()
        assert (cut == 0).all(dim=1).flatten(1).any(dim=1).all()  # no gradient in the cutout
        assert cut.abs().flatten(1).sum(dim=1).min() > 0
