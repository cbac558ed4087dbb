"""Checkpoints are written whole, read without trust, and name weights without wrappers."""

import copy
import errno
import logging
import os
import pickle
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.model import ExponentialMovingAverage, MMSeparateDistributedDataParallel
from mmengine.runner import checkpoint as host
from mmengine.runner.checkpoint import load_from_local, load_state_dict, save_checkpoint
from torch import nn


def test_a_full_disk_leaves_the_former_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    file = tmp_path / 'iter_1.pth'
    save_checkpoint({'a': torch.ones(2)}, str(file))
    before = file.read_bytes()
    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='No space left'):
        save_checkpoint({'a': torch.zeros(2)}, str(file))
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


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


def test_mmengine_names_a_file_of_another_kind(tmp_path):
    (tmp_path / 'x.pth').write_text('<html>')
    with pytest.raises(ValueError, match=r'x\.pth is a web page'):
        host.load_checkpoint(nn.Linear(1, 1), str(tmp_path / 'x.pth'))


def test_the_best_checkpoint_of_a_moved_run_is_looked_for_where_it_is(tmp_path):
    infos = {'best_ckpt': '/moved/from/best_fid_iter_4.pth', 'best_score': 3.0}
    hub = SimpleNamespace(runtime_info=infos, get_info=infos.__getitem__)
    runner = SimpleNamespace(work_dir=str(tmp_path), message_hub=hub, logger=logging.getLogger())
    hook = CheckpointHook(by_epoch=False, save_best='fid', rule='less')
    hook.before_train(runner)
    assert hook.best_ckpt_path == str(tmp_path / 'best_fid_iter_4.pth') == infos['best_ckpt']
    assert infos['best_score'] == 3


def test_mmengine_refuses_weights_of_which_none_has_a_place(tmp_path):
    torch.save({'state_dict': {'a.weight': torch.ones(1)}}, tmp_path / 'x.pth')
    with pytest.raises(
        ValueError, match=r'no weights of Linear: it has a\.weight, and weight, bias'
    ):
        host.load_checkpoint(nn.Linear(1, 1), str(tmp_path / 'x.pth'))
    torch.save({'state_dict': {'module.weight': torch.full((1, 1), 7.0)}}, tmp_path / 'x.pth')
    layer = nn.Linear(1, 1)
    host.load_checkpoint(layer, str(tmp_path / 'x.pth'))
    assert layer.weight == 7


class Pair(nn.Module):
    """Two networks that are wrapped, an average that is not, and a child that is called module."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.discriminator = nn.ModuleDict({'module': nn.utils.spectral_norm(nn.Linear(3, 1))})
        self.generator_ema = ExponentialMovingAverage(self.generator)


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_weights_have_their_names_without_wrappers_and_are_found_again(one_process, capsys):
    plain = Pair()
    wrapped = MMSeparateDistributedDataParallel(copy.deepcopy(plain)).module
    assert type(wrapped.generator) is not type(plain.generator)
    expected, source = plain.state_dict(), wrapped.state_dict()
    assert list(source) == list(expected)
    assert all(torch.equal(value, source[name]) for name, value in expected.items())
    assert source._metadata == expected._metadata
    target = MMSeparateDistributedDataParallel(Pair()).module
    load_state_dict(target, source)
    assert 'do not match' not in capsys.readouterr().out
    for name, value in target.state_dict().items():
        assert torch.equal(value, source[name]), name
    Pair().load_state_dict(source)
