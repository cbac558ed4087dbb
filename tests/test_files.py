"""A file is written whole or not at all; a place that cannot be written to is found beforehand."""

import errno
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from disp_plugin import files
from disp_plugin.files import check_out, describe_bytes, get_free_bytes, replace_file, write_file


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


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='POSIX')
def test_only_files_are_replaced_and_links_stay_links(tmp_path):
    (tmp_path / 'folder').mkdir()
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'circle').symlink_to('circle')
    for name in ('folder', 'pipe', 'circle'):
        with pytest.raises(ValueError, match=rf'{name}. (cannot be written|is a folder)'):
            write_file(tmp_path / name, b'new')
        with pytest.raises(ValueError, match='it is no file|is a folder'):
            check_out(tmp_path / name, is_folder=False)
    assert stat.S_ISFIFO((tmp_path / 'pipe').stat().st_mode)
    (tmp_path / 'link').symlink_to('folder/target')
    write_file(tmp_path / 'link', b'new')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'folder' / 'target').read_bytes() == b'new'
    assert os.listdir(tmp_path / 'folder') == ['target']


@pytest.mark.skipif(files.flock is None, reason='POSIX')
def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    files.remove_leftovers.cache_clear()
    old = time.time() - 3600
    names = [f'.{name}.{"0123456789abcdef"}.part' for name in ('x', 'y')]
    others = ['x.part', '.x.part', '.hidden']
    for name in (*names, *others):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (old, old))
    with replace_file(tmp_path / 'z') as living:
        os.utime(living.fileno(), (old, old))
        files.remove_leftovers.cache_clear()
        write_file(tmp_path / 'x', b'')
        assert len([name for name in os.listdir(tmp_path) if name.startswith('.z.')]) == 1
    assert sorted(os.listdir(tmp_path)) == sorted(['x', 'z', *others])


def test_what_can_be_written_passes_and_is_not_made(tmp_path):
    (tmp_path / 'old').write_text('kept')
    check_out(tmp_path)
    check_out(tmp_path / 'a' / 'b')
    check_out(tmp_path / 'a' / 'b.json', is_folder=False)
    check_out(tmp_path / 'old', is_folder=False)
    assert [path.name for path in tmp_path.iterdir()] == ['old']
    assert (tmp_path / 'old').read_text() == 'kept'


def test_files_and_folders_are_not_taken_for_each_other(tmp_path):
    file = tmp_path / 'file'
    file.touch()
    with pytest.raises(ValueError, match=r'--out .*is a file; name a folder'):
        check_out(file)
    with pytest.raises(ValueError, match=r'--out .*is a folder; name a file'):
        check_out(tmp_path, is_folder=False)
    for is_folder in (True, False):
        with pytest.raises(ValueError, match=r'--out .*(lies below|Not a directory)'):
            check_out(file / 'a' / 'b', is_folder)


def test_a_place_that_takes_no_files_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r'--out .*cannot be written \(File name too long\)'):
        check_out(tmp_path / ('x' * 300))

    def refuse(*args, **options):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr('tempfile.TemporaryFile', refuse)
    with pytest.raises(ValueError, match=r'--out .*cannot be written \(Permission denied\)'):
        check_out(tmp_path / 'out')


def test_free_space_is_that_of_the_nearest_folder_that_exists(tmp_path):
    assert get_free_bytes(tmp_path / 'a' / 'b') == pytest.approx(get_free_bytes(tmp_path), rel=0.2)
    assert [describe_bytes(n * 2**20) for n in (12.4, 1024, 3000)] == [
        '12 MiB',
        '1.0 GiB',
        '2.9 GiB',
    ]
