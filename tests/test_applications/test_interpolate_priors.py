"""A walk begins and ends at the images of its two priors, and goes straight between them."""

import numpy as np
import pytest
import torch

from disp_plugin.applications import interpolate_priors, sample_images


def draw(gan):
    rng = torch.Generator().manual_seed(3)
    first, second = torch.randn(2, 1, gan.prior_dim, generator=rng)
    return first, second, torch.randn(1, gan.noise_size, generator=rng)


def sample(gan, noise, prior):
    return np.concatenate(list(sample_images(gan, noise, prior)))


def test_every_image_is_that_of_the_mixture_of_raw_priors(tiny_gan):
    first, second, noise = draw(tiny_gan)
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
    _, _, noise = draw(gan)
    first, second = torch.zeros(1, 6), torch.zeros(1, 6)
    first[0, 0], second[0, 1] = 9, 1
    middle = interpolate_priors(gan, first, second, noise, num_steps=3)[1]
    raw = sample(gan, noise, (first + second) / 2)[0]
    late = sample(gan, noise, first / 9 + second)[0]
    assert np.abs(middle.astype(int) - raw).max() <= 1
    assert np.abs(middle.astype(int) - late).max() > 1


def test_what_cannot_be_walked_is_refused(build_gan):
    gan = build_gan('biggan')
    first, second, noise = draw(gan)
    with pytest.raises(ValueError, match='at least 2 images'):
        interpolate_priors(gan, first, second, noise, num_steps=1)
    with pytest.raises(ValueError, match=r'the second prior must be of shape \(1, 6\)'):
        interpolate_priors(gan, first, second[:, :5], noise)
    with pytest.raises(ValueError, match=r'the noise must be of shape \(1, '):
        interpolate_priors(gan, first, second, noise.expand(2, -1))
    for name in ('first', 'second', 'noise'):
        values = dict(first=first, second=second, noise=noise)
        values[name] = values[name] * float('nan')
        with pytest.raises(ValueError, match=f'the {name}.* must be finite'):
            interpolate_priors(gan, **values)
    baseline = build_gan('biggan', prior_dim=0, sampler=None)
    with pytest.raises(ValueError, match='nothing to walk between'):
        interpolate_priors(baseline, first, second, noise)
