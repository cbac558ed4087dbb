"""Numbers behind names that NumPy and SciPy have removed are as before."""

import types

import numpy as np
import pytest
import scipy.linalg
import torch
from mmagic.evaluation.metrics import fid, ppl

from disp_plugin.upstream import removed_names


def test_fid_dies_on_scipy_1_18_without_and_is_exact_with_the_patch(monkeypatch, rng):
    def sqrtm(A):
        return scipy.linalg.sqrtm(A)

    factors = rng(0).standard_normal((2, 5, 5))
    covs = factors @ factors.transpose(0, 2, 1) + np.eye(5)
    means = rng(1).standard_normal((2, 5))

    def calculate():
        return fid.FrechetInceptionDistance._calc_fid(means[0], covs[0], means[1], covs[1])

    monkeypatch.setattr(fid, 'linalg', types.SimpleNamespace(sqrtm=sqrtm))
    with pytest.raises(TypeError, match='disp'):
        calculate()
    removed_names.give_sqrtm(fid)
    # Tr((AB)^(1/2)) is the sum of the roots of AB's eigenvalues
    roots = np.sqrt(np.linalg.eigvals(covs[0] @ covs[1]).real).sum()
    trace_part = np.trace(covs[0]) + np.trace(covs[1]) - 2 * roots
    mean_part = ((means[0] - means[1]) ** 2).sum()
    np.testing.assert_allclose(calculate(), (mean_part + trace_part, mean_part, trace_part))


def test_ppl_dies_on_numpy_2_4_without_and_is_exact_with_the_patch(monkeypatch, rng):
    def percentile(values, share, method='linear'):
        return np.percentile(values, share, method=method)

    names = dict(percentile=percentile, extract=np.extract, logical_and=np.logical_and)
    monkeypatch.setattr(ppl, 'np', types.SimpleNamespace(**names))
    distances = rng(0).lognormal(size=450).astype(np.float32)
    metric = ppl.PerceptualPathLength(fake_nums=450)
    metric.fake_results = list(torch.from_numpy(distances).split(1))
    with pytest.raises(TypeError, match='interpolation'):
        metric.compute_metrics(metric.fake_results)
    removed_names.give_percentile(ppl)
    score = metric.compute_metrics(metric.fake_results)['ppl_score']
    # places 4.49 and 444.51 of 0 to 449, rounded outwards: 4 are left out at either end
    assert score == pytest.approx(np.sort(distances)[4:446].mean(dtype=np.float64))
