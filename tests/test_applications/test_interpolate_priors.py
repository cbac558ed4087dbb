"""A walk begins and ends at the images of its two priors, and goes straight between them."""

import numpy as np
import pytest
import torch

from disp_plugin.applications import interpolate_priors, sample_images
from tests.gans import draw


def draw_ends(gan):
    noise, priors = draw(gan, 2)
    return priors[:1], priors[1:], noise[:1]


def sample(gan, noise, prior):
    return np.concatenate(list(sample_images(gan, noise, prior)))


def test_every_image_is_that_of_the_mixture_of_raw_priors(tiny_gan):
    first, second, noise = draw_ends(tiny_gan)
    walk = interpolate_priors(tiny_gan, first, second, noise, num_steps=5, batch_size=2)
    assert walk.dtype == np.uint8 and walk.shape[0] == 5 and walk.shape[-1] == 3
    for index, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        mixture = (1 - share) * first + share * second
        expected = sample(tiny_gan, noise, mixture)[0]
        # one gray level: sums of another order round differently
        assert np.abs(walk[index].astype(int) - expected).max() <= 1
    assert not np.array_equal(walk[0], walk[-1])


def test_priors_are_mixed_before_they_are_normalized(build_gan):
    gan = build_gan('sngan', prior_norm='l2')
    _, _, noise = draw_ends(gan)
    first, second = torch.zeros(1, 6), torch.zeros(1, 6)
    first[0, 0], second[0, 1] = 9, 1
    middle = interpolate_priors(gan, first, second, noise, num_steps=3)[1]
    raw = sample(gan, noise, (first + second) / 2)[0]
    late = sample(gan, noise, first / 9 + second)[0]
    assert np.abs(middle.astype(int) - raw).max() <= 1
    assert np.abs(middle.astype(int) - late).max() > 1


def test_what_cannot_be_walked_is_refused(build_gan):
    gan = build_gan('biggan')
    first, second, noise = draw_ends(gan)
    good = dict(gan=gan, first=first, second=second, noise=noise)
    for changes, message in (
        (dict(num_steps=1), 'at least 2 images'),
        (dict(second=second[:, :5]), r'the second prior must be of shape \(1, 6\)'),
        (dict(noise=noise.expand(2, -1)), r'the noise must be of shape \(1, '),
        (dict(first=first * float('nan')), 'the first prior must be finite'),
        (dict(second=second * float('nan')), 'the second prior must be finite'),
        (dict(noise=noise * float('inf')), 'the noise must be finite'),
        (dict(gan=build_gan('biggan', prior_dim=0, sampler=None)), 'nothing to walk between'),
    ):
        with pytest.raises(ValueError, match=message):
            interpolate_priors(**{**good, **changes})
