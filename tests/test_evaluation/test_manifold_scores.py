"""Precision, recall, density, coverage against the definition, prdc and torch-fidelity."""

import contextlib
import io

import numpy as np
import pytest
import torch

from disp_plugin.evaluation.metrics import manifold_scores as module
from disp_plugin.evaluation.metrics.manifold_scores import manifold_scores, nearest_distances


def naive(generated, reference, precision_ks, recall_ks, density_k):
    """The definitions, from all differences in float64."""

    def squares(first, second):
        return (first.double()[:, None] - second.double()).square().sum(2).numpy()

    def radii(features, k):
        own = squares(features, features)
        np.fill_diagonal(own, np.inf)
        return np.sort(own, axis=1)[:, k - 1]

    across = squares(generated, reference)
    found = {}
    for k in precision_ks:
        found['precision', k] = (across <= radii(reference, k)).any(1).mean()
    for k in recall_ks:
        found['recall', k] = (across <= radii(generated, k)[:, None]).any(0).mean()
    inside = across <= radii(reference, density_k)
    found['density', density_k] = inside.sum(1).mean() / density_k
    found['coverage', density_k] = inside.any(0).mean()
    return found


def plain(rng, num, scale=1.0, dim=8):
    return torch.from_numpy((scale * rng.normal(size=(num, dim))).astype(np.float32))


def near_copies(rng, num):
    """Near copies of few images, far from the origin, where float32 tells nothing apart."""
    centers = 1e3 + np.random.default_rng(7).normal(size=(6, 8))
    points = centers[rng.integers(0, 6, size=num)] + 1e-2 * rng.normal(size=(num, 8))
    return torch.from_numpy(points.astype(np.float32))


PAIRS = {
    'overlapping': lambda rng: (plain(rng(0), 120), plain(rng(1), 90, 1.2)),
    'narrow': lambda rng: (plain(rng(0), 120, 0.3), plain(rng(1), 90)),
    'disjoint': lambda rng: (plain(rng(0), 120), plain(rng(1), 90) + 100),
    'identical': lambda rng: (plain(rng(0), 90), plain(rng(0), 90)),
    'one repeated': lambda rng: (plain(rng(1), 90)[:1].expand(60, -1), plain(rng(1), 90)),
    'both repeated': lambda rng: (torch.full((60, 8), 0.1), torch.full((50, 8), 0.1)),
    'near copies': lambda rng: (near_copies(rng(0), 120), near_copies(rng(1), 90)),
    'ties': lambda rng: tuple(
        torch.from_numpy(rng(seed).integers(0, 3, size=(80, 4)).astype(np.float32))
        for seed in (0, 1)
    ),
}


@pytest.mark.parametrize('kind', PAIRS)
@pytest.mark.parametrize('blocks', [False, True])
def test_scores_are_the_definition(rng, monkeypatch, kind, blocks):
    if blocks:
        monkeypatch.setattr(module, 'BLOCK', 32)
    generated, reference = PAIRS[kind](rng)
    found = manifold_scores(generated, reference)
    expected = naive(generated, reference, (10, 3), (40, 3), 5)
    assert {key: estimate.value for key, estimate in found.items()} == pytest.approx(expected)
    other = manifold_scores(generated, reference, (1,), (2, 7), 3)
    expected = naive(generated, reference, (1,), (2, 7), 3)
    assert {key: estimate.value for key, estimate in other.items()} == pytest.approx(expected)


def test_scores_are_those_of_prdc_and_torch_fidelity(rng):
    prdc = pytest.importorskip('prdc')
    generated, reference = PAIRS['overlapping'](rng)
    found = manifold_scores(generated, reference, (4,), (4,), 4)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = prdc.compute_prdc(reference.numpy(), generated.numpy(), nearest_k=4)
    assert {name: found[name, 4].value for name in theirs} == pytest.approx(theirs)

    fidelity = pytest.importorskip('torch_fidelity.metric_prc')
    options = dict(prc_neighborhood=4, prc_batch_size=50, save_cpu_ram=False, verbose=False)
    theirs = fidelity.prc_features_to_metric(generated, reference, **options)
    assert found['precision', 4].value == pytest.approx(theirs['precision'])
    assert found['recall', 4].value == pytest.approx(theirs['recall'])


def test_deviations_are_those_of_shares_and_means(rng):
    generated, reference = PAIRS['overlapping'](rng)
    found = manifold_scores(generated, reference)
    for name, k, num in (('precision', 10, 120), ('recall', 40, 90), ('coverage', 5, 90)):
        share, deviation = found[name, k]
        assert deviation == pytest.approx(np.sqrt(share * (1 - share) / num))
    across = torch.cdist(generated.double(), reference.double())
    own = torch.cdist(reference.double(), reference.double()).fill_diagonal_(torch.inf)
    balls = (across <= own.kthvalue(5).values).sum(1) / 5
    assert found['density', 5].standard_deviation == pytest.approx(float(balls.std()) / 120**0.5)


def test_the_copied_image_is_found_among_near_copies_far_from_the_origin(rng):
    points = near_copies(rng(0), 300)
    queries = points[torch.from_numpy(rng(1).permutation(300))].clone()
    assert nearest_distances(queries, points).tolist() == [0] * 300
    queries[:, 0] += 2**-11  # far less than to the next copy
    assert nearest_distances(queries, points).tolist() == pytest.approx([2**-11] * 300, rel=1e-4)


@pytest.mark.parametrize(
    ('num', 'num_reference', 'neighbors', 'message'),
    [
        (50, 10, {}, 'precision_neighbors is k = 10, but reference holds n = 10 .*at most 9'),
        (40, 50, {}, 'recall_neighbors is k = 40, but generated holds n = 40 .*k of at most 39'),
        (50, 0, {}, 'reference holds 0 feature'),
        (50, 50, dict(precision_neighbors=(0,)), 'precision_neighbors must be at least 1, but is'),
        (50, 20, dict(density_neighbors=20), 'density_neighbors is k = 20, but reference'),
    ],
)
def test_neighbors_that_are_not_there_are_refused(num, num_reference, neighbors, message):
    with pytest.raises(ValueError, match=message):
        manifold_scores(torch.rand(num, 3), torch.rand(num_reference, 3), **neighbors)
