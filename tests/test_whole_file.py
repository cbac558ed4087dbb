"""A file is written whole or not at all."""

import errno
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from disp_plugin.whole_file import replace_file, write_file


def full_disk(*args):
    raise OSError(errno.ENOSPC, 'No space left on device')


def test_text_and_bytes_are_written_and_replaced(tmp_path):
    path = tmp_path / 'folder' / 'x'
    write_file(path, 'Grüße\n')
    assert path.read_bytes() == 'Grüße\n'.encode()
    write_file(path, b'\x00\xff', is_durable=False)
    assert path.read_bytes() == b'\x00\xff'
    assert os.listdir(path.parent) == ['x']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_after_a_failure_the_old_file_is_as_it_was(step, tmp_path, monkeypatch):
    write_file(tmp_path / 'x', b'old')
    monkeypatch.setattr(os, step, full_disk)
    with pytest.raises(OSError, match='No space left'):
        write_file(tmp_path / 'x', b'new')
    assert (tmp_path / 'x').read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['x']


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_interrupted_writer_leaves_nothing(error, tmp_path):
    with pytest.raises(error), replace_file(tmp_path / 'x') as file:
        file.write(b'half')
        raise error
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('umask', [0o022, 0o077])
def test_the_file_is_as_readable_as_any_other_of_its_owner(umask, tmp_path):
    before = os.umask(umask)
    try:
        write_file(tmp_path / 'x', b'')
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'x').stat().st_mode) == 0o666 & ~umask


def test_threads_that_write_at_once_leave_the_umask_alone(tmp_path, monkeypatch):
    """It is one for the whole process: reading it by setting it would race."""
    real = os.umask
    monkeypatch.setattr(os, 'umask', lambda mask: (real(mask), time.sleep(0.001))[0])
    before = os.umask(0o027)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: write_file(tmp_path / f'{i}', b'', False), range(40)))
        after = os.umask(0o027)
    finally:
        os.umask(before)
    assert after == 0o027
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o640}
