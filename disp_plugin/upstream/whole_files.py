"""Checkpoints that are written whole or not at all.

Symptom: a run that is killed, or whose disk is full, while it saves leaves a truncated
``iter_*.pth``, in the place of a good one where it has the same name.
Cause: ``LocalBackend.put`` opens the final file and writes into it
(mmengine/fileio/backends/local_backend.py:77).
Upstream: mmengine 0.10.7.
Delete when: mmengine writes to a temporary name and renames.
"""

from pathlib import Path
from typing import Any

from disp_plugin.files import write_file
from disp_plugin.upstream.repair import Repair, host_module

MODULE = 'mmengine.fileio.backends.local_backend'


def apply() -> None:
    """Let the local backend write to a temporary name beside the file, then rename."""
    backend: Any = host_module(MODULE).LocalBackend
    if getattr(backend.put, '_is_whole', False):
        return

    def put_whole(self: Any, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file, whole or not at all."""
        write_file(filepath, obj)

    put_whole._is_whole = True  # type: ignore[attr-defined]
    backend.put = put_whole


REPAIR = Repair(
    name='whole-files',
    module=MODULE,
    summary='a run that is killed while it saves leaves a truncated checkpoint',
    until='mmengine writes to a temporary name and renames',
    is_needed=lambda: True,
    apply=apply,
)
