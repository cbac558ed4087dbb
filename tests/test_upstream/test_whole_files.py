"""A checkpoint appears whole or not at all."""

import builtins
import errno

import pytest
import torch
from mmengine.fileio.backends import LocalBackend
from mmengine.runner.checkpoint import save_checkpoint


def fill_the_disk(monkeypatch):
    """Let every file take one byte and then be out of space."""
    real_open = builtins.open

    def open_on_a_full_disk(file, mode='r', *args, **kwargs):
        opened = real_open(file, mode, *args, **kwargs)
        if mode != 'wb':
            return opened
        write = opened.write

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *args):
                opened.close()

            def write(self, data):
                write(data[:1])
                raise OSError(errno.ENOSPC, 'No space left on device', str(file))

        return Full()

    monkeypatch.setattr(builtins, 'open', open_on_a_full_disk)


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
