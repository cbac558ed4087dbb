"""The floor against distances of images that are really repeated."""

import numpy as np
import pytest
import torch

from disp_plugin.evaluation.frechet_distance import frechet_distance
from disp_plugin.evaluation.kernel_distance import kernel_distance
from disp_plugin.evaluation.memorization_floor import memorization_floor


def draw(rng, num, dim):
    return torch.from_numpy(rng.normal(size=(num, dim)).astype(np.float32))


@pytest.mark.parametrize(('num_train', 'num'), [(30, 200), (200, 25)])
@pytest.mark.parametrize('dim', [8, 64])
def test_floor_is_the_distance_of_repeated_images(rng, num_train, num, dim):
    train, held_out = draw(rng(0), num_train, dim), draw(rng(1), 50, dim)
    floor = memorization_floor(train, held_out, num, seed=3)
    generator = torch.Generator().manual_seed(3)
    draws = [train[torch.randint(num_train, (num,), generator=generator)] for _ in range(5)]
    for name, measure in (('fid', frechet_distance), ('kid', kernel_distance)):
        values = [measure(drawn, held_out).value for drawn in draws]
        assert floor[name].value == pytest.approx(np.mean(values), rel=1e-6)
        assert floor[name].standard_deviation == pytest.approx(np.std(values, ddof=1), rel=1e-4)


def test_draws_are_those_of_the_seed(rng):
    train, held_out = draw(rng(0), 30, 8), draw(rng(1), 50, 8)
    first, again, other = (memorization_floor(train, held_out, 60, seed) for seed in (0, 0, 1))
    assert first == again and first['fid'] != other['fid'] and first['kid'] != other['kid']


def test_fresh_samples_are_below_the_floor_of_few_images(rng):
    train, held_out = draw(rng(0), 30, 8), draw(rng(1), 300, 8)
    floor = memorization_floor(train, held_out, 300)
    fresh = draw(rng(2), 300, 8)
    assert frechet_distance(fresh, held_out).value < floor['fid'].value / 2
    assert kernel_distance(fresh, held_out).value < floor['kid'].value / 2


def test_a_draw_of_one_image_is_refused():
    with pytest.raises(ValueError, match='num must be at least 2 images in a draw, but is 1'):
        memorization_floor(torch.rand(5, 3), torch.rand(5, 3), 1)
