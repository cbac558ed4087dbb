"""What single repairs must keep besides their cure: numbers, bounds, what they do not touch."""

import pickle
import pkgutil
import types
import zipfile

import numpy as np
import pytest
import scipy.linalg
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import load_from_local

from disp_plugin.upstream import (
    compiled_operators,
    fid_sqrtm,
    integer_betas,
    mmcv_ext,
    ppl_percentile,
    repair,
)


class TestSafeCheckpoints:
    @pytest.fixture
    def checkpoint(self, tmp_path):
        rng = np.random.default_rng(0)
        hub = {
            'log_scalars': {'train/loss': HistoryBuffer([1.0, 2.0, 6.0], [1, 1, 1])},
            'runtime_info': {'iter': 7, 'lr': np.float64(0.1), 'flag': np.bool_(True)},
        }
        state = {
            'random': ('MT19937', rng.integers(0, 2**32, 624, dtype=np.uint32), 3, 0, 0.0),
            'arrays': [np.arange(6, dtype=code).reshape(2, 3) for code in 'bhilBHILefd'],
        }
        file = tmp_path / 'iter_7.pth'
        meta = {'dataset_meta': {'classes': ['a', 'b'], 'extra': ConfigDict(nested=[1, {'b': 2}])}}
        weight = torch.arange(3.0)
        torch.save({'message_hub': hub, 'state': state, 'meta': meta, 'weight': weight}, file)
        return file

    @pytest.mark.parametrize('package', ['numpy.core', 'numpy._core'])
    def test_checkpoints_of_numpy_1_and_2_are_both_read(self, checkpoint, package, tmp_path):
        other = 'numpy._core' if package == 'numpy.core' else 'numpy.core'
        file = tmp_path / 'other.pth'
        with zipfile.ZipFile(checkpoint) as source, zipfile.ZipFile(file, 'w') as target:
            for name in source.namelist():
                data = source.read(name)
                if name.endswith('data.pkl'):
                    # the name of a module stands in the pickle as a line of text
                    data = data.replace(f'c{other}.'.encode(), f'c{package}.'.encode())
                    assert f'c{package}.multiarray'.encode() in data
                target.writestr(name, data)
        loaded = load_from_local(str(file), 'cpu')
        history = loaded['message_hub']['log_scalars']['train/loss']
        assert (history.mean(), history.min(), history.max(), history.current()) == (3, 1, 6, 6)
        assert loaded['message_hub']['runtime_info'] == {'iter': 7, 'lr': 0.1, 'flag': True}
        assert loaded['meta']['dataset_meta']['extra'] == {'nested': [1, {'b': 2}]}
        for code, array in zip('bhilBHILefd', loaded['state']['arrays'], strict=True):
            assert array.dtype == np.dtype(code)
            np.testing.assert_array_equal(array, np.arange(6).reshape(2, 3))
        expected = np.random.default_rng(0).integers(0, 2**32, 624, dtype=np.uint32)
        np.testing.assert_array_equal(loaded['state']['random'][1], expected)

    @pytest.mark.parametrize(
        ('function', 'arguments'),
        [
            (eval, ('print(1)',)),
            (getattr, (HistoryBuffer, '__init__')),
            (getattr, (HistoryBuffer, 'register_statistics')),
            (getattr, (np.ndarray, 'tofile')),
            (getattr, (HistoryBuffer, 'mean', None)),
        ],
    )
    def test_a_malicious_checkpoint_is_still_refused(self, function, arguments, tmp_path):
        class Malicious:
            def __reduce__(self):
                return function, arguments

        file = tmp_path / 'bad.pth'
        torch.save({'state_dict': Malicious()}, file)
        with pytest.raises(pickle.UnpicklingError):
            load_from_local(str(file), 'cpu')

    def test_the_builtin_getattr_is_not_among_the_allowed_globals(self):
        allowed = torch.serialization.get_safe_globals()
        assert getattr not in allowed
        assert getattr not in [entry[0] for entry in allowed if isinstance(entry, tuple)]


class TestIntegerLabels:
    @pytest.mark.parametrize(
        ('label', 'shape'),
        [
            (torch.zeros(4, 1).long(), [4]),
            (torch.zeros(4).long(), [4]),
            (torch.zeros(4, 3).long(), [4, 3]),  # several labels per image
            (torch.zeros(4, 1), [4, 1]),  # a vector of one number
            (torch.zeros(4, 7), [4, 7]),
        ],
    )
    def test_only_integer_columns_are_flattened(self, label, shape):
        from mmagic.models.base_models import BaseConditionalGAN

        sample = types.SimpleNamespace(
            keys=lambda: ['gt_label'], gt_label=types.SimpleNamespace(label=label)
        )
        assert list(BaseConditionalGAN.data_sample_to_label(None, sample).shape) == shape

    def test_no_label_stays_none(self):
        from mmagic.models.base_models import BaseConditionalGAN

        assert BaseConditionalGAN.data_sample_to_label(None, None) is None

    def test_a_discriminator_scores_each_real_image_on_its_own_label_only(self):
        from mmagic.models.base_models import BaseConditionalGAN
        from mmagic.registry import MODELS
        from mmagic.structures import DataSample

        config = dict(type='SAGANDiscriminator', input_scale=32, base_channels=8, num_classes=3)
        discriminator = MODELS.build(config).eval()
        samples = [DataSample() for _ in range(4)]
        for index, sample in enumerate(samples):
            sample.set_gt_label(index % 3)
        labels = BaseConditionalGAN.data_sample_to_label(None, DataSample.stack(samples))
        images = torch.randn(4, 3, 32, 32)
        with torch.no_grad():
            together = discriminator(images, label=labels)
            alone = [discriminator(images[i : i + 1], label=labels[i : i + 1]) for i in range(4)]
        assert list(together.shape) == [4, 1]
        torch.testing.assert_close(together, torch.cat(alone))


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

    def test_fid_dies_without_and_is_exact_with_the_repair(self, new_scipy, rng):
        assert fid_sqrtm.is_needed()
        with pytest.raises(TypeError, match='disp'):
            self.calculate(new_scipy, rng(0))
        fid_sqrtm.apply()
        values, mean_part, trace_part = self.calculate(new_scipy, rng(0))
        np.testing.assert_allclose(values, (mean_part + trace_part, mean_part, trace_part))
        assert not fid_sqrtm.is_needed()


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

    def test_ppl_dies_without_and_is_exact_with_the_repair(self, new_numpy, rng):
        distances = rng(0).lognormal(size=450).astype(np.float32)
        metric = new_numpy.PerceptualPathLength(fake_nums=450)
        metric.fake_results = list(torch.from_numpy(distances).split(1))
        assert ppl_percentile.is_needed()
        with pytest.raises(TypeError, match='interpolation'):
            metric.compute_metrics(metric.fake_results)
        ppl_percentile.apply()
        score = metric.compute_metrics(metric.fake_results)['ppl_score']
        # places 4.49 and 444.51 of 0 to 449, rounded outwards: 4 are left out at either end
        assert score == pytest.approx(np.sort(distances)[4:446].mean(dtype=np.float64))
        assert not ppl_percentile.is_needed()


class TestCompiledOperators:
    def test_the_question_is_answered_where_find_loader_is_gone(self, monkeypatch):
        from mmengine.utils.dl_utils import misc

        if mmcv_ext.is_compiled():
            pytest.skip('a compiled mmcv is installed')
        answer = misc.mmcv_full_available
        monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
        monkeypatch.setattr(misc, 'mmcv_full_available', answer)  # put back at the end
        assert compiled_operators.is_needed()
        if answer.__module__.startswith('mmengine'):
            with pytest.raises(AttributeError, match='find_loader'):
                answer()
        compiled_operators.REPAIRS[1].apply()
        assert misc.mmcv_full_available() is False
        repair.rebind(misc.mmcv_full_available, answer)

    def test_an_operator_of_the_stand_in_names_the_package_that_has_it(self):
        import mmcv.ops

        if mmcv_ext.is_compiled():
            pytest.skip('a compiled mmcv is installed')
        boxes, scores = torch.rand(3, 4), torch.rand(3)
        with pytest.raises(NotImplementedError, match=r"'nms'.*pip install \"mmcv>=2.0,<2.2\""):
            mmcv.ops.nms(boxes, scores, 0.5)


class TestIntegerBetas:
    def test_only_integers_are_changed_and_the_config_is_not(self):
        from mmagic.registry import OPTIMIZERS

        params = [torch.nn.Parameter(torch.zeros(1))]
        config = dict(type='AdamW', params=params, betas=[0, 0.5])
        assert OPTIMIZERS.build(config).param_groups[0]['betas'] == (0.0, 0.5)
        assert config['betas'] == [0, 0.5]
        sgd = OPTIMIZERS.build(dict(type='SGD', params=params, lr=0.1))
        assert isinstance(sgd, torch.optim.SGD)

    def test_registries_that_inherited_the_builder_are_mended_too(self):
        from mmengine.registry import Registry

        parent = Registry('optimizer of a test', scope='parent_of_test')
        child = Registry('optimizer of a test', scope='child_of_test', parent=parent)
        integer_betas._mend_registry(parent)
        parent.register_module(name='Adam', module=torch.optim.Adam)
        params = [torch.nn.Parameter(torch.zeros(1))]
        for registry in (parent, child):
            optimizer = registry.build(dict(type='Adam', params=params, betas=(0, 0.9)))
            assert optimizer.param_groups[0]['betas'] == (0.0, 0.9)
