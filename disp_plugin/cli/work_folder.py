"""Work folders: one run each. A second one continues it, replaces it, or goes elsewhere."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config

from disp_plugin.evaluation.metric_card import CARDS_FILE

__all__ = ['check_work_folder', 'list_saved', 'remove_run']

_SNAPSHOT = re.compile(r'(iter|epoch)_\d+\.pth|best_.+\.pth|last_checkpoint')
_SESSION = re.compile(r'\d{8}_\d{6}')

_RESTARTS = ('SLURM_RESTART_COUNT', 'TORCHELASTIC_RESTART_COUNT')


def list_saved(folder: str | Path) -> list[str]:
    """Name the files by which a run can be continued: those of a folder that is in use."""
    path = Path(folder)
    names = os.listdir(path) if path.is_dir() else []
    return sorted(name for name in names if _SNAPSHOT.fullmatch(name))


def check_work_folder(cfg: Config, overwrite: bool = False) -> None:
    """Raise if a run would be mixed with another one in its work folder.

    A run that saved nothing yet is none: its logs stay, and the same command starts it again. All
    processes come to the same answer, since none saves before all have started.

    Args:
        cfg (Config): Its ``work_dir``, ``resume`` and ``load_from`` are read.
        overwrite (bool): Whether the other run is to be removed. Defaults to False.

    Raises:
        ValueError: The folder holds another run, or the one to remove is also to be continued.
    """
    folder, resume_from = Path(cfg.work_dir), cfg.get('load_from') if cfg.get('resume') else None
    found = list_saved(folder)
    here = os.path.realpath(folder)  # pathlib's resolve() raises at a link to itself
    is_here = resume_from is None or os.path.dirname(os.path.realpath(resume_from)) == here
    continues = bool(cfg.get('resume')) and is_here
    if overwrite and continues:
        raise ValueError(
            f'--overwrite would remove the run in {folder} that is to be continued; leave it out'
        )
    read = {os.path.realpath(text) for text in _list_strings(cfg.to_dict()) if '.pth' in text}
    needed = [name for name in found if os.path.realpath(folder / name) in read]
    if overwrite and needed:
        raise ValueError(
            f'--overwrite would remove {folder / needed[0]}, which the config reads; move it first'
        )
    if found and not continues and not overwrite:
        others = f' and {len(found) - 3} more' if len(found) > 3 else ''
        advice = 'give --resume to continue it' if is_here else 'resume from a checkpoint of it'
        raise ValueError(
            f'the work folder {folder} holds a run already ({", ".join(found[:3])}{others}): '
            f'{advice}, --work-dir for another folder, or --overwrite to remove its checkpoints, '
            f'{CARDS_FILE} and logs, and nothing else'
        )


def _list_strings(part: object) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, (Mapping, list, tuple)):
        for value in part.values() if isinstance(part, Mapping) else part:
            yield from _list_strings(value)


def was_restarted(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether Slurm or torchrun started the same command before."""
    return any(environment.get(name, '0') not in ('', '0') for name in _RESTARTS)


def remove_run(folder: str | Path, keep: str = '') -> None:
    """Remove the checkpoints, metric cards and logs of the runs in a folder, and nothing else.

    Args:
        folder (str | Path): The work folder.
        keep (str): Name of the log folder of the run that begins. Defaults to '': none.
    """
    for path in Path(folder).iterdir():
        if _SNAPSHOT.fullmatch(path.name) or path.name == CARDS_FILE:
            path.unlink()
        elif _SESSION.fullmatch(path.name) and path.name != keep and not path.is_symlink():
            shutil.rmtree(path)
