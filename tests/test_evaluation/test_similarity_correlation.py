"""Tables 12 and 13 against formulas in float64, written out."""

import math

import numpy as np
import pytest
import torch

from disp_plugin.evaluation.reconstruction_similarity import reconstruction_similarity
from disp_plugin.evaluation.similarity_correlation import (
    cosine_of_pairs,
    draw_pairs,
    similarity_correlation,
)


def cosine(a, b):
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b))


def pearson(x, y):
    x, y = (np.asarray(v) - np.mean(v) for v in (x, y))
    return (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())


def ranks(values):
    return [sum(other < value for other in values) for value in values]


def test_correlations_are_those_of_the_formula(rng):
    draw = rng(0)
    disc, encoder = draw.random((6, 4)), draw.random((6, 3))
    images = draw.integers(0, 256, (6, 2, 2, 3), dtype=np.uint8)
    pairs = np.array([(i, j) for i in range(6) for j in range(i)])
    found = similarity_correlation(torch.from_numpy(disc), torch.from_numpy(encoder), images, pairs)
    in_disc = [cosine(disc[i], disc[j]) for i, j in pairs]
    alike = [cosine(encoder[i], encoder[j]) for i, j in pairs]
    apart = [
        math.sqrt(
            sum((int(a) - int(b)) ** 2 for a, b in zip(images[i].flat, images[j].flat, strict=True))
        )
        for i, j in pairs
    ]
    for name, values in (('perceptual', alike), ('pixels', apart)):
        assert math.isclose(found[name].pearson, pearson(in_disc, values), rel_tol=1e-6)
        expected = pearson(ranks(in_disc), ranks(values))
        assert math.isclose(found[name].spearman, expected, rel_tol=1e-6)


def test_signs_are_those_of_the_table_where_all_spaces_agree(rng):
    """Features that are the pixels themselves: alike in one is near in the other."""
    images = rng(1).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    images = (images * np.linspace(0.1, 1, 40)[:, None, None, None]).astype(np.uint8)
    features = torch.from_numpy(images.reshape(40, -1).astype(np.float32)) - 128
    found = similarity_correlation(features, features, images, draw_pairs(40, 500))
    assert found['perceptual'].pearson > 0.999 and found['pixels'].pearson < -0.8


def test_pairs_are_of_different_images_and_uniform():
    pairs = draw_pairs(5, 20_000, seed=1)
    assert pairs.shape == (20_000, 2) and pairs.min() == 0 and pairs.max() == 4
    assert (pairs[:, 0] != pairs[:, 1]).all()
    counts = np.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25).reshape(5, 5)
    expected = 20_000 / 20
    off = counts[~np.eye(5, dtype=bool)]
    assert (np.abs(off - expected) < 5 * math.sqrt(expected)).all()
    assert np.array_equal(draw_pairs(5, 20_000, seed=1), pairs)


def test_chunks_make_no_difference(rng):
    features = torch.from_numpy(rng(2).random((9, 5)))
    pairs = draw_pairs(9, 50)
    whole = cosine_of_pairs(features, pairs)
    np.testing.assert_allclose(cosine_of_pairs(features, pairs, chunk=7), whole)


def test_what_has_no_correlation_is_refused(rng):
    features = torch.from_numpy(rng(3).random((4, 5)))
    images = np.zeros((4, 2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match='alike by pixels'):
        similarity_correlation(features, features, images, draw_pairs(4, 5))
    with pytest.raises(ValueError, match='at least 3 pairs'):
        similarity_correlation(features, features, images, draw_pairs(4, 2))
    with pytest.raises(ValueError, match='at least 2 images'):
        draw_pairs(1, 5)


def test_own_images_are_compared_with_their_own_and_others_with_others(rng):
    draw = rng(4)
    real = draw.normal(size=(50, 8))
    generated = real + 0.3 * draw.normal(size=(50, 8))
    found = reconstruction_similarity(torch.from_numpy(real), torch.from_numpy(generated))
    own = [cosine(a, b) for a, b in zip(real, generated, strict=True)]
    assert math.isclose(found['own'].mean, np.mean(own), rel_tol=1e-9)
    assert math.isclose(found['own'].standard_deviation, np.std(own, ddof=1), rel_tol=1e-9)
    # independent normal vectors of 8 dimensions have cosines of mean 0 and variance 1/8
    for name in ('random', 'other'):
        assert abs(found[name].mean) < 4 * math.sqrt(1 / 8 / 50)
        assert 0.2 < found[name].standard_deviation < 0.5
    assert found['own'].num == 50


def test_a_random_partner_is_never_the_image_itself():
    real = torch.eye(40)
    found = reconstruction_similarity(real, real)
    assert found['own'].mean == 1
    assert found['random'].mean == found['other'].mean == 0


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match='at least 2 images and as many generated'):
        reconstruction_similarity(torch.ones(3, 2), torch.ones(2, 2))
