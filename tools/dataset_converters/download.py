"""Read what a user downloaded: a folder, a tar (also compressed) or a zip, in the same way.

Archives are read, never unpacked: no member of an archive decides where something is written.
"""

import tarfile
import zipfile
import zlib
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from prepared_set import Chosen, PreparedSet, decode_square


class Download:
    """A downloaded folder or archive.

    Args:
        path (str | Path): The folder or archive.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
        ValueError: It is neither a folder nor a readable archive, it is empty, or a name in it
            could leave its folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._tar: tarfile.TarFile | None = None
        self._zip: zipfile.ZipFile | None = None
        # name -> what its archive calls it (tarfile looks names up by walking over all of them)
        self._members: dict[str, Path | tarfile.TarInfo | zipfile.ZipInfo] = {}
        if not self.path.exists():
            raise FileNotFoundError(
                f'{self.path} does not exist; see --help for what to download and from where'
            )
        for name, member in self._list_members():
            self._check_name(name)
            path = PurePosixPath(name)
            # what systems leave in folders and archives, such as .DS_Store and __MACOSX/._a.png
            if not path.name.startswith('.') and '__MACOSX' not in path.parts:
                self._members[str(path)] = member
        if not self._members:
            raise ValueError(f'{self.path} holds no files')
        self.names = list(self._members)

    def _list_members(self) -> list[tuple[str, Any]]:
        """List the regular files, in the order in which they are read fastest."""
        if self.path.is_dir():
            files = sorted(file for file in self.path.rglob('*') if file.is_file())
            return [(file.relative_to(self.path).as_posix(), file) for file in files]
        try:
            if zipfile.is_zipfile(self.path):
                self._zip = zipfile.ZipFile(self.path)
                infos = self._zip.infolist()
                return [(info.filename, info) for info in infos if not info.is_dir()]
            self._tar = tarfile.open(self.path)  # noqa: SIM115 (read from until the end)
            # links and devices are left out: a link may point outside of the archive
            return [(info.name, info) for info in self._tar if info.isreg()]
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise ValueError(
                f'{self.path} is no whole folder, tar or zip ({error}); download it again'
            ) from error

    def _check_name(self, name: str) -> None:
        """Refuse names that no official archive holds and that could do harm."""
        path = PurePosixPath(name)
        if path.is_absolute() or '..' in path.parts or '\\' in name or not name.isprintable():
            raise ValueError(
                f'{self.path} holds a file named {name!r}, which could leave its folder or break '
                'a manifest; this is not the official download'
            )

    def find(self, ending: str) -> str:
        """Find the least nested file whose path ends in ``ending``, such as ``'images.txt'``."""
        parts = PurePosixPath(ending).parts
        found = [name for name in self.names if PurePosixPath(name).parts[-len(parts) :] == parts]
        if not found:
            raise FileNotFoundError(
                f'{ending} is not in {self.path}, which begins with {", ".join(self.names[:3])}; '
                'see --help for the expected layout'
            )
        return min(found, key=lambda name: (name.count('/'), name))

    def read(self, name: str) -> bytes:
        """Read a file whole; of an archive, one file at a time."""
        member = self._members[name]
        try:
            if isinstance(member, Path):
                return member.read_bytes()
            if isinstance(member, zipfile.ZipInfo):
                assert self._zip is not None
                return self._zip.read(member)
            assert self._tar is not None
            file = self._tar.extractfile(member)
            # only regular files are listed, and those can always be opened
            assert file is not None
            return file.read()
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise ValueError(f'{name} cannot be read from {self.path}: {error}') from error

    def image_names(self) -> list[str]:
        """List the names that end as images do, in order."""
        from disp_plugin.datasets import IMG_EXTENSIONS

        return [name for name in self.names if Path(name).suffix.lower() in IMG_EXTENSIONS]

    def prepare(self, prepared: PreparedSet, splits: dict[str, Chosen], size: int) -> None:
        """Write the images of each split, each the central square of one, resized."""
        for split, chosen in splits.items():
            prepared.write_images(split, chosen, self.read, partial(self._decode, size=size))

    def _decode(self, content: bytes, name: str, size: int) -> np.ndarray:
        return decode_square(content, f'{name} in {self.path}', size)
