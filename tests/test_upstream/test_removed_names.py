"""Numbers behind names that NumPy and SciPy have removed are as before."""

import types

import numpy as np
import pytest
import scipy.linalg
import torch

from disp_plugin.upstream import removed_names


class TestFidSqrtm:
    @pytest.fixture
    def new_scipy(self, monkeypatch):
        """SciPy as of 1.18 on, for mmagic's FID: sqrtm has no ``disp``."""
        from mmagic.evaluation.metrics import fid

        def sqrtm(A):
            return scipy.linalg.sqrtm(A)

        monkeypatch.setattr(fid, 'linalg', types.SimpleNamespace(sqrtm=sqrtm, norm=np.linalg.norm))
        return fid

    @staticmethod
    def calculate(fid, rng):
        covs = []
        for _ in range(2):
            factor = rng.standard_normal((5, 5))
            covs.append(factor @ factor.T + np.eye(5))
        means = rng.standard_normal((2, 5))
        values = fid.FrechetInceptionDistance._calc_fid(means[0], covs[0], means[1], covs[1])
        # Tr((AB)^(1/2)) is the sum of the roots of AB's eigenvalues
        roots = np.sqrt(np.linalg.eigvals(covs[0] @ covs[1]).real).sum()
        trace = np.trace(covs[0]) + np.trace(covs[1]) - 2 * roots
        return values, ((means[0] - means[1]) ** 2).sum(), trace

    def test_fid_dies_without_and_is_exact_with_the_patch(self, new_scipy, rng):
        assert removed_names._lacks_disp()
        with pytest.raises(TypeError, match='disp'):
            self.calculate(new_scipy, rng(0))
        removed_names._give_sqrtm()
        values, mean_part, trace_part = self.calculate(new_scipy, rng(0))
        np.testing.assert_allclose(values, (mean_part + trace_part, mean_part, trace_part))
        assert not removed_names._lacks_disp()


class TestPPLPercentile:
    @pytest.fixture
    def new_numpy(self, monkeypatch):
        """NumPy as of 2.4 on, for mmagic's PPL: percentile has no ``interpolation``."""
        from mmagic.evaluation.metrics import ppl

        def percentile(values, share, method='linear'):
            return np.percentile(values, share, method=method)

        names = dict(percentile=percentile, extract=np.extract, logical_and=np.logical_and)
        monkeypatch.setattr(ppl, 'np', types.SimpleNamespace(**names))
        return ppl

    def test_ppl_dies_without_and_is_exact_with_the_patch(self, new_numpy, rng):
        distances = rng(0).lognormal(size=450).astype(np.float32)
        metric = new_numpy.PerceptualPathLength(fake_nums=450)
        metric.fake_results = list(torch.from_numpy(distances).split(1))
        assert removed_names._lacks_interpolation()
        with pytest.raises(TypeError, match='interpolation'):
            metric.compute_metrics(metric.fake_results)
        removed_names._give_percentile()
        score = metric.compute_metrics(metric.fake_results)['ppl_score']
        # places 4.49 and 444.51 of 0 to 449, rounded outwards: 4 are left out at either end
        assert score == pytest.approx(np.sort(distances)[4:446].mean(dtype=np.float64))
        assert not removed_names._lacks_interpolation()
