import errno
import os

import numpy as np
import pytest

from disp_plugin.priors import lock_file
from disp_plugin.priors.partial_bank import PartialBank

IDENTITY = {'encoder': 'e1', 'data set': 'd1'}


def open_partial(tmp_path, **changes):
    return PartialBank(tmp_path / 'bank', {**IDENTITY, **changes}, (2, 3), np.float32)


def make_rows(num, seed=0):
    return np.random.default_rng(seed).normal(size=(num, 2, 3)).astype(np.float32)


@pytest.fixture
def written(tmp_path):
    """A partial file of 4 + 4 + 2 images."""
    partial = open_partial(tmp_path)
    for seed, num in enumerate([4, 4, 2]):
        partial.append(make_rows(num, seed))
    partial.close()
    return partial.path


def test_rows_come_back_in_order(tmp_path, written):
    partial = open_partial(tmp_path)
    assert partial.num_done == 10
    expected = np.concatenate([make_rows(4, 0), make_rows(4, 1), make_rows(2, 2)])
    np.testing.assert_array_equal(np.concatenate(list(partial.blocks())), expected)
    assert [len(block) for block in partial.blocks()] == [4, 4, 2]


@pytest.mark.parametrize('cut', [1, 20, 59])
def test_record_cut_short_is_dropped_and_written_over(tmp_path, written, cut):
    written.write_bytes(written.read_bytes()[:-cut])
    partial = open_partial(tmp_path)
    assert partial.num_done == 8
    partial.append(make_rows(1, 9))
    partial.close()
    partial = open_partial(tmp_path)
    assert partial.num_done == 9
    np.testing.assert_array_equal(list(partial.blocks())[-1], make_rows(1, 9))


def test_rows_that_never_reached_the_disk_are_dropped(tmp_path, written):
    content = bytearray(written.read_bytes())
    content[-40:] = bytes(40)  # what some file systems leave after a failure of power
    written.write_bytes(bytes(content))
    assert open_partial(tmp_path).num_done == 8


@pytest.mark.parametrize('change', [{'encoder': 'e2'}, {'data set': 'd2'}])
def test_partial_of_other_work_is_discarded_by_name(tmp_path, written, change):
    partial = open_partial(tmp_path, **change)
    assert partial.num_done == 0
    assert partial.discarded == f'it belongs to another {next(iter(change))}'
    partial.close()
    assert open_partial(tmp_path).num_done == 0


def test_rows_of_other_work_never_come_back(tmp_path, written):
    partial = open_partial(tmp_path, encoder='e2')  # of the same length, so that records align
    partial.append(make_rows(4, 7))
    partial.close()
    partial = open_partial(tmp_path, encoder='e2')
    assert partial.num_done == 4
    np.testing.assert_array_equal(next(partial.blocks()), make_rows(4, 7))


def test_partial_of_another_shape_or_type_is_discarded(tmp_path, written):
    other = PartialBank(tmp_path / 'bank', IDENTITY, (1, 3), np.float32)
    assert (other.num_done, other.discarded) == (0, 'it belongs to another shape of prior')


@pytest.mark.parametrize('content', [b'hello', b'DISPPART\xff\xff', b'DISPPART' + bytes(4) + b'x'])
def test_damaged_partial_is_discarded(tmp_path, content):
    (tmp_path / 'bank.part').write_bytes(content)
    partial = open_partial(tmp_path)
    assert (partial.num_done, partial.discarded) == (0, 'it is damaged')


def test_second_build_at_once_is_refused(tmp_path, written):
    first = open_partial(tmp_path)
    with pytest.raises(ValueError, match=r'another process is building this bank \(.*bank.part is'):
        open_partial(tmp_path)
    first.close()
    assert open_partial(tmp_path).num_done == 10


def test_a_file_system_without_locks_is_no_other_process(tmp_path, written, monkeypatch, capsys):
    def flock(file, operation):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(lock_file.fcntl, 'flock', flock)
    partial = open_partial(tmp_path)
    assert partial.num_done == 10
    partial.close()
    assert f'WARNING: files in {tmp_path} cannot be locked' in capsys.readouterr().out
