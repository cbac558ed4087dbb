"""What goes wrong with the file of a bank, said with the way out."""

from __future__ import annotations

import errno
from pathlib import Path

BUILD_COMMAND = 'python tools/build_prior_bank.py CONFIG --bank-file {}'
REBUILD_COMMAND = f'{BUILD_COMMAND} --overwrite (and the --cfg-options of your run)'


class BankWriteError(OSError, ValueError):
    """A bank cannot be written where it was asked for: no permission, no space, no folder."""

    @classmethod
    def explain(cls, error: OSError, path: str | Path) -> BankWriteError:
        """Say in the user's words why a file could not be written, and what helps.

        Args:
            error (OSError): What the system said.
            path (str | Path): The file that was to be written.

        Returns:
            BankWriteError: To raise in the place of it.
        """
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = f'no space left to write {path}; free some'
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = f'no permission to write {path}; change that of its folder'
        else:
            reason = f'cannot write {path}: {error.strerror or error}; mend that'
        return cls(f'{reason}, or choose another place with --bank-file')


class DamagedBankError(ValueError):
    """A bank file is truncated or altered."""

    @classmethod
    def explain(cls, path: str | Path, problem: str) -> DamagedBankError:
        """Name the file, what is wrong with it, and the way out.

        Args:
            path (str | Path): Bank file.
            problem (str): A clause such as 'it is truncated'.

        Returns:
            DamagedBankError: To raise.
        """
        way_out = f'copy it again or rebuild it: {REBUILD_COMMAND.format(path)}'
        return cls(f'prior bank {path} is damaged: {problem}; {way_out}')


class BankInUseError(ValueError):
    """Another process is building this bank, or this shard of it."""
