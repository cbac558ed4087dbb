"""A checkpoint appears whole or not at all."""

import errno
import os

import pytest
import torch
from mmengine.fileio.backends import LocalBackend
from mmengine.runner.checkpoint import save_checkpoint


def fill_the_disk(monkeypatch):
    """Let what is written reach no disk, however it was opened."""

    def fail(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)


def test_a_full_disk_leaves_the_former_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / 'iter_1.pth'
    save_checkpoint({'a': torch.ones(2)}, str(file))
    before = file.read_bytes()
    fill_the_disk(monkeypatch)
    with pytest.raises(OSError, match='No space left'):
        save_checkpoint({'a': torch.zeros(2)}, str(file))
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_folders_are_made_and_rights_are_those_of_any_new_file(tmp_path):
    file, other = tmp_path / 'a' / 'b.bin', tmp_path / 'other'
    LocalBackend().put(b'text', file)
    other.write_bytes(b'')
    assert file.read_bytes() == b'text'
    assert file.stat().st_mode == other.stat().st_mode
