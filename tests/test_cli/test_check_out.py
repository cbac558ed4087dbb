"""What cannot be written is found out beforehand, and looking leaves nothing."""

import os

import pytest

from disp_plugin.cli.check_out import check_out


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
