"""Checkpoints that are written whole or not at all.

Symptom: a run that is killed, or whose disk is full, while it saves leaves a truncated
``iter_*.pth``, in the place of a good one where it has the same name.
Cause: ``LocalBackend.put`` opens the final file and writes into it
(mmengine/fileio/backends/local_backend.py:77).
Upstream: mmengine 0.10.7.
Delete when: mmengine writes to a temporary name and renames.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from disp_plugin.upstream.repair import Repair, host_module

MODULE = 'mmengine.fileio.backends.local_backend'


def apply() -> None:
    """Let the local backend write to a temporary name beside the file, then rename."""
    backend: Any = host_module(MODULE).LocalBackend
    put: Callable[..., None] = backend.put
    if getattr(put, '_is_whole', False):
        return

    def put_whole(self: Any, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file, whole or not at all."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f'.{path.name}.', suffix='.part', dir=path.parent)
        os.close(handle)
        try:
            put(self, obj, name)
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    put_whole._is_whole = True  # type: ignore[attr-defined]
    backend.put = put_whole


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


REPAIR = Repair(
    name='whole-files',
    module=MODULE,
    summary='a run that is killed while it saves leaves a truncated checkpoint',
    until='mmengine writes to a temporary name and renames',
    is_needed=lambda: True,
    apply=apply,
)
