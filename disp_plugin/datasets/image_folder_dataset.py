"""A folder of images as a data set whose images are known by name, not by position."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from mmagic.datasets import BasicImageDataset
from mmagic.registry import DATASETS

from .decode_image import IMG_EXTENSIONS


@DATASETS.register_module()
class ImageFolderDataset(BasicImageDataset):
    """All images below a folder, in the order of their names.

    Each image is known by its *image key*: its path relative to ``data_root``, with ``/`` between
    folders and with its extension. What is stored per image (a prior) is found by this key.

    Args:
        data_root (str): The folder.
        ann_file (str): A manifest: a text file that names one image key on each line (blank lines
            are ignored); only these images are used. A relative path starts at ``data_root``.
            Defaults to '', which takes every image below the folder.
        pipeline (list): Transforms, as in mmagic. Defaults to ().
        metainfo (dict, optional): Meta information of the data set. Defaults to None.
        **kwargs: Other arguments of mmengine's ``BaseDataset``, such as ``indices``.

    Raises:
        FileNotFoundError: The folder or the manifest does not exist, or the manifest names files
            that do not exist.
        ValueError: There is no image, or the manifest names one twice or outside of the folder.
    """

    METAINFO = {'dataset_type': 'image_folder_dataset', 'task_name': 'editing'}

    def __init__(
        self,
        data_root: str,
        ann_file: str = '',
        pipeline: list[dict | Callable] | tuple = (),
        metainfo: dict | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=str(data_root),
            data_prefix={'gt': ''},
            pipeline=list(pipeline),
            # mmagic's default for this dict is one object, shared and written to by every instance
            filename_tmpl={},
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """List the images.

        Returns:
            list[dict]: For each image ``image_key`` and ``gt_path`` (and ``key``, the same as
            ``image_key``, for the transforms of mmagic), sorted by key.
        """
        root = Path(self.data_root)
        if not root.is_dir():
            what = 'is a file, not a folder' if root.exists() else 'does not exist'
            raise FileNotFoundError(
                f'data_root {self.data_root!r} {what} (looked from {os.getcwd()}); set data_root '
                'to the folder of your images'
            )
        keys = self._keys_of_manifest(root) if self.use_ann_file else self._keys_of_folder(root)
        return [
            {'image_key': key, 'key': key, 'gt_path': os.path.join(self.data_root, key)}
            for key in sorted(keys)
        ]

    def _keys_of_folder(self, root: Path) -> list[str]:
        keys, others = [], 0
        for path in _walk(root):
            if path.suffix.lower() in IMG_EXTENSIONS:
                keys.append(path.relative_to(root).as_posix())
            else:
                others += 1
        if not keys:
            found = f'only {others} other files' if others else 'no file at all'
            raise ValueError(
                f'data_root {self.data_root!r} holds no image, {found}; images are told by '
                f'their ending: {", ".join(IMG_EXTENSIONS)}'
            )
        unnameable = [key for key in keys if not _is_utf8(key)]
        if unnameable:
            raise ValueError(
                f'{len(unnameable)} file names below data_root {self.data_root!r} are not valid '
                f'UTF-8, such as {os.fsencode(unnameable[0])!r}; rename these files'
            )
        return keys

    def _keys_of_manifest(self, root: Path) -> list[str]:
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f'ann_file {self.ann_file!r} does not exist; it is the manifest of the images to '
                "use, and a relative path starts at data_root; ann_file='' takes every image"
            )
        lines = Path(self.ann_file).read_text(encoding='utf-8-sig').splitlines()
        keys = [PurePosixPath(line.strip()).as_posix() for line in lines if line.strip()]
        if not keys:
            raise ValueError(f'the manifest {self.ann_file!r} names no image')
        outside = [key for key in keys if key.startswith('/') or '..' in PurePosixPath(key).parts]
        if outside:
            raise ValueError(
                f'the manifest {self.ann_file!r} names {outside[0]!r}, but its paths must be '
                f'relative to data_root {self.data_root!r} and stay below it'
            )
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f'the manifest {self.ann_file!r} names {twice!r} more than once')
        missing = [key for key in keys if not (root / key).is_file()]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(keys)} images that the manifest {self.ann_file!r} names '
                f'are not below data_root {self.data_root!r}, such as {", ".join(missing[:5])}'
            )
        return keys


def _walk(root: Path) -> Iterator[Path]:
    """Yield the files below ``root`` that are not hidden, through links but never in circles."""
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        # '._photo.jpg' and the like are not images but what a system stores beside them.
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
        for name in files:
            if not name.startswith('.'):
                yield Path(folder, name)


def _is_utf8(name: str) -> bool:
    try:
        name.encode('utf-8')
    except UnicodeEncodeError:
        return False
    return True
