"""Folders of samples: they hold these samples and no other image, so that they can be measured."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from disp_plugin.datasets import IMG_EXTENSIONS
from disp_plugin.files import check_out, replace_file

from .sample_images import make_grid, write_png

__all__ = ['SHEET_MARK', 'SampleFolder', 'is_sheet', 'write_sheet']

SHEET_MARK = {'disp_plugin': 'a sheet, no sample'}
"""Text in a PNG file that shows many samples or none: nothing to measure."""

_NUMBERED = re.compile(r'\d+(_\d+)?\.png')


class SampleFolder:
    """The folder that a tool writes samples into; what shows all of them lies beside it.

    Args:
        out (str | Path): The folder; it need not exist.
        names (Sequence[str]): Names of the samples, which replace files of the same names.
        overwrite (bool): Whether to remove other numbered samples. Defaults to False.

    Raises:
        ValueError: Nothing can be written there, or the folder holds other images: with
            ``overwrite``, others than numbered samples.
    """

    def __init__(self, out: str | Path, names: Sequence[str], overwrite: bool = False) -> None:
        self.folder, self.names = Path(out), names
        self.sheet = self.beside('grid.png')
        check_out(self.folder)
        check_out(self.sheet, is_folder=False)
        found = _list_images(self.folder)
        others = [name for name in found if name not in set(names)]
        foreign = [name for name in others if not _NUMBERED.fullmatch(name)]
        if foreign:
            raise ValueError(
                f'--out {str(out)!r} holds images that are no samples ({_name_some(foreign)}) and '
                'would be counted among them; choose another folder'
            )
        if others and not overwrite:
            raise ValueError(
                f'--out {str(out)!r} holds other samples ({_name_some(others)}); choose another '
                'folder, or remove exactly these by --overwrite'
            )
        self._old = [self.folder / name for name in found]

    def beside(self, what: str) -> Path:
        """Name a file beside the folder, after it: ``samples_grid.png`` of ``samples``."""
        folder = self.folder.absolute()
        return self.folder.with_name(f'{folder.name}_{what}')

    def write(self, images: Iterable[np.ndarray], num_kept: int | None = None) -> np.ndarray:
        """Write all samples, once the older ones are removed.

        Args:
            images (Iterable[np.ndarray]): (H, W, 3) each, uint8, RGB: as many as there are names.
            num_kept (int | None): How many to give back. Defaults to None: all.

        Returns:
            np.ndarray: (N, H, W, 3), the first of them.
        """
        kept: list[np.ndarray] = []
        for index, (name, image) in enumerate(zip(self.names, images, strict=True)):
            if index == 0:
                for file in self._old:
                    file.unlink()
            write_png(self.folder / name, image)
            if num_kept is None or index < num_kept:
                kept.append(image)
        return np.stack(kept)


def _list_images(folder: Path) -> list[str]:
    paths = [path.relative_to(folder) for path in folder.rglob('*')]
    shown = [path for path in paths if not any(part.startswith('.') for part in path.parts)]
    return sorted(path.as_posix() for path in shown if path.suffix.lower() in IMG_EXTENSIONS)


def _name_some(names: Sequence[str]) -> str:
    return ', '.join([*names[:3], *([f'and {len(names) - 3} more'] if len(names) > 3 else [])])


def write_sheet(path: str | Path, images: np.ndarray, num_columns: int | None = None) -> None:
    """Write images (N, H, W, 3), uint8, RGB, as one PNG that is never taken for a sample."""
    text = PngInfo()
    for name, value in SHEET_MARK.items():
        text.add_text(name, value)
    with replace_file(path, is_durable=False) as file:
        Image.fromarray(make_grid(images, num_columns)).save(file, format='PNG', pnginfo=text)


def is_sheet(path: str | Path) -> bool:
    """Tell the sheets of the tools, and the grids of mmagic's training, from samples."""
    with Image.open(path) as image:
        marked = SHEET_MARK.items() <= image.info.items()
    return marked or {'vis_data', 'vis_image'} <= set(Path(path).absolute().parts)
