import errno
import os

import pytest

from disp_plugin.priors import lock_file as module
from disp_plugin.priors.lock_file import lock_file, unlock_file

WITHOUT_LOCKS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP]


def let_flock_fail(monkeypatch, number):
    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.fcntl, 'flock', flock)


@pytest.fixture
def files(tmp_path):
    """One file, opened twice, as by two processes."""
    with open(tmp_path / 'f', 'w') as first, open(tmp_path / 'f', 'w') as second:
        yield first, second


def test_a_lock_keeps_others_out_until_it_is_left(files, tmp_path, capsys):
    assert lock_file(files[0], tmp_path / 'f', 'take care')
    with pytest.raises(BlockingIOError):
        lock_file(files[1], tmp_path / 'f', 'take care')
    unlock_file(files[0])
    assert lock_file(files[1], tmp_path / 'f', 'take care')
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('number', [errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES])
def test_a_file_in_use_is_told(files, tmp_path, monkeypatch, number):
    let_flock_fail(monkeypatch, number)
    with pytest.raises(BlockingIOError):
        lock_file(files[0], tmp_path / 'f', 'take care')


@pytest.mark.parametrize('wait', [False, True])
@pytest.mark.parametrize('number', WITHOUT_LOCKS)
def test_a_file_system_without_locks_is_told_once(
    files, tmp_path, monkeypatch, capsys, number, wait
):
    let_flock_fail(monkeypatch, number)
    for name in ('f', 'g'):
        assert not lock_file(files[0], tmp_path / name, 'take care', wait)
    assert capsys.readouterr().out == (
        f'WARNING: files in {tmp_path} cannot be locked ({os.strerror(number)}): take care\n'
    )


def test_a_system_without_locks_goes_on_in_silence(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, 'fcntl', None)
    assert not lock_file(files[0], tmp_path / 'f', 'take care')
    assert capsys.readouterr().out == ''
