"""A folder of images as a data set that states how its images are seen."""

import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import mmcv
import numpy as np
import torch
from mmagic.registry import DATASETS, TRANSFORMS
from mmagic.structures import DataSample
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from disp_plugin.distributed import read_launch

from .decode_image import DECODERS, IMG_EXTENSIONS, BadImageError, decode_image
from .image_cache import ImageCache, free_memory
from .seeded_draws import spawn_words


@DATASETS.register_module()
class ImageFolderDataset(BaseDataset):
    r"""All images below a folder, in the order of their names.

    Each image is known by its *image key*: its path relative to ``data_root``, with ``/`` between
    folders and with its extension. What is stored per image (a prior) is found by this key.

    An image is decoded, cropped to its central square, resized (bicubic, Pillow) and flipped at
    random; a sample holds it as ``data_samples.gt_img`` (3, H, W), uint8, BGR, beside
    ``sample_idx``, its row in the order of the keys, and ``flipped``, whether it is mirrored. With
    a bank, ``data_samples.gt_prior`` (D,) is the prior of the view that is shown.

    The data set takes positions instead of indices: position ``epoch * len(self) + index`` is the
    draw of image ``index`` in pass ``epoch``, as :class:`ResumableSampler` yields them. Whether it
    is flipped follows from (seed, epoch, index) alone, so it is the same with any number of workers
    and processes, and after a resume.

    In training by :class:`ResumableTrainLoop` images are kept in memory once they are decoded and
    resized, as many as ``cache_memory`` allows; samples are the same without. A file that changes
    meanwhile is not read again.

    Args:
        data_root (str): The folder; or a manifest, whose paths then start at its own folder.
        ann_file (str): A manifest: a text file that names one image key on each line (blank lines
            are ignored, and folders may be separated by ``\``, as Windows does); only these images
            are used. A relative path starts at ``data_root``. Defaults to '', which takes every
            image below the folder; what is left out is counted by its ending and printed.
        image_size (int, optional): Side of the square that images are resized to. Defaults to
            None: images stay as they are, uncropped.
        crop (str): What is cut out before resizing: 'center', the largest central square, or
            'none', which squeezes the whole image. Defaults to 'center'.
        flip (bool): Whether a random half of the draws is mirrored. Defaults to False.
        bank_file (str, optional): Bank of the images' priors. A relative path starts at
            ``data_root``. Defaults to None: samples carry no prior.
        num_neighbors (int, optional): Show, in place of the image that was drawn, one of so many
            others, those of the largest cosine of (unflipped) priors, each as often. The prior
            stays that of the image that was drawn, and its flip is a draw of its own: so IC-GAN
            trains (arXiv 2109.05070 and its code). Defaults to None: the image that was drawn.
        seed (int, optional): Seed of the flips and neighbors. Defaults to None: that of the
            ResumableSampler; without one, they come from NumPy's global generator.
        white_level (float, optional): Value that is shown as white in images of 16 bits or of
            numbers without a known range, such as 4095 for 12 bits in 16. Defaults to None: the
            full range of 16 bits. It is part of the view, as the size is.
        cache_memory (float): Fraction of the free memory in which training may keep decoded images;
            processes on one machine split it. 0: none are kept. Defaults to 0.25.
        metainfo (dict, optional): Meta information of the data set. Defaults to None.
        **kwargs: Other arguments of mmengine's ``BaseDataset``, such as ``indices``.

    Raises:
        FileNotFoundError: The folder or the manifest does not exist, or the manifest names files
            that do not exist.
        ValueError: There is no image, the manifest names one twice or outside of the folder, or
            an option is out of range, such as ``num_neighbors`` of as many images or fewer.
    """

    #: Tells a sampler that positions beyond the length are understood.
    takes_positions = True

    METAINFO = {'dataset_type': 'image_folder_dataset', 'task_name': 'editing'}

    def __init__(
        self,
        data_root: str,
        ann_file: str = '',
        image_size: int | None = None,
        crop: str = 'center',
        flip: bool = False,
        bank_file: str | None = None,
        num_neighbors: int | None = None,
        seed: int | None = None,
        white_level: float | None = None,
        cache_memory: float = 0.25,
        metainfo: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if image_size is not None and image_size < 1:
            raise ValueError(f'image_size must be at least 1, but is {image_size}')
        if crop not in ('center', 'none'):
            raise ValueError(f"crop must be 'center' or 'none', but is {crop!r}")
        if white_level is not None and not white_level > 0:
            raise ValueError(f'white_level must be positive, but is {white_level}')
        if not 0 <= cache_memory <= 1:
            raise ValueError(f'cache_memory must be a fraction from 0 to 1, but is {cache_memory}')
        self.white_level, self.cache_memory = white_level, cache_memory
        self._cache: ImageCache | None = None
        self._numbers = np.random.RandomState(0)
        data_root, ann_file = split_manifest(str(data_root), ann_file)
        self.image_size, self.crop, self.flip, self.seed = image_size, crop, flip, seed
        self.bank_path = Path(data_root, os.path.expanduser(bank_file)) if bank_file else None
        self._load_prior = None
        if bank_file:
            # by the registry, because priors/ builds on datasets/
            self._load_prior = TRANSFORMS.build(dict(type='LoadPrior', bank_file=self.bank_path))
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix={'gt': ''},
            **kwargs,
        )
        self.num_neighbors = num_neighbors
        self._neighbors: np.ndarray | None = None
        if num_neighbors is not None and not 1 <= num_neighbors < len(self):
            raise ValueError(
                f'num_neighbors is {num_neighbors}, but {self.data_root!r} has {len(self)} images; '
                f'it must be from 1 to {len(self) - 1}, the number of the others'
            )

    @property
    def image_keys(self) -> list[str]:
        """list[str]: Key of each image."""
        return [self.get_data_info(index)['image_key'] for index in range(len(self))]

    @property
    def image_paths(self) -> list[str]:
        """list[str]: File of each image."""
        return [self.get_data_info(index)['gt_path'] for index in range(len(self))]

    @property
    def num_views(self) -> int:
        """int: 2 if images are flipped at random, else 1."""
        return 2 if self.flip else 1

    def view(self, index: int, flipped: bool = False) -> np.ndarray:
        """Make an image as training shows it.

        Args:
            index (int): Row of the image.
            flipped (bool): Whether to mirror it. Defaults to False.

        Returns:
            np.ndarray: (H, W, 3), uint8, RGB, contiguous.

        Raises:
            BadImageError: The file cannot be decoded; the message names it.
        """
        path = self.get_data_info(index)['gt_path']
        image = fit_image(decode_image(path, self.white_level), self.image_size, self.crop)
        return np.ascontiguousarray(image[:, ::-1] if flipped else image)

    def describe_view(self) -> dict[str, Any]:
        """Describe how a view is made of a file; two data sets with one text show the same."""
        crop = 'none' if self.image_size is None else self.crop
        view = {'image_size': self.image_size, 'crop': crop, 'resize': 'bicubic (Pillow)'}
        return view if self.white_level is None else {**view, 'white_level': self.white_level}

    def keep_images(self, num_processes: int = 1) -> str:
        """Keep images from now on once they are decoded; processes forked later share them.

        Args:
            num_processes (int): Processes on this machine that keep images of their own.
                Defaults to 1.

        Returns:
            str: How many images will be kept, in how much memory, or why none.
        """
        self._cache = None
        if not self.cache_memory or self.image_size is None:
            reason = 'cache_memory=0' if self.image_size else 'image_size=None'
            return f'images are decoded whenever they are drawn ({reason})'
        shape = (3, self.image_size, self.image_size)
        allowed = int(free_memory() * self.cache_memory / num_processes)
        num = min(len(self), allowed // math.prod(shape))
        if not num:
            return (
                'images are decoded whenever they are drawn: cache_memory='
                f'{self.cache_memory:g} of the free memory leaves no room for one'
            )
        try:
            self._cache = ImageCache(num, shape)
        except OSError as error:
            return f'images are decoded whenever they are drawn: {error.strerror}'
        which = 'all' if num == len(self) else f'{num:,} of'
        return (
            f'{which} {len(self):,} images are kept in memory once decoded, in '
            f'{num * math.prod(shape) / 1e6:,.1f} MB (cache_memory={self.cache_memory:g} allows '
            f'{allowed / 1e6:,.0f} MB)'
        )

    def __getitem__(self, position: int) -> dict:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: list[int]) -> list[dict]:
        """Draw a batch for a data loader.

        Images and priors of the samples are parts of one tensor each, of which the handing over
        between processes costs a tenth of that of single ones.
        """
        draws = [divmod(int(position), len(self)) for position in positions]
        if any(epoch < 0 for epoch, _ in draws):
            raise IndexError(f'the position of a draw must not be negative, got {min(positions)}')
        rows, flips, prior_flips = zip(*(self._draw(*draw) for draw in draws), strict=True)
        infos = [self.get_data_info(row) for row in rows]
        samples = self._pack(infos, self._load(np.array(rows), np.array(flips)), flips)
        if self._load_prior is not None:
            if self.num_neighbors is not None:
                infos = [self.get_data_info(index) for _, index in draws]
            priors = self._load_prior.look_up([info['image_key'] for info in infos], prior_flips)
            for sample, prior in zip(samples, priors, strict=True):
                sample.set_field(prior, 'gt_prior')
        return [{'inputs': {}, 'data_samples': sample} for sample in samples]

    def load(self, rows: np.ndarray, flipped: bool) -> list[DataSample]:
        """Load images, all mirrored or none, as samples of a batch without priors."""
        flips = np.full(len(rows), flipped)
        infos = [self.get_data_info(row) for row in rows.tolist()]
        return self._pack(infos, self._load(rows, flips), flips.tolist())

    @staticmethod
    def _pack(
        infos: list[dict], images: Iterable[torch.Tensor], flips: Sequence[bool]
    ) -> list[DataSample]:
        samples = []
        for image, info, flipped in zip(images, infos, flips, strict=True):
            # field by field: mmengine copies a dict of meta information deeply
            sample = DataSample()
            sample.set_field(image, 'gt_img')
            for name, value in (
                ('gt_path', info['gt_path']),
                ('sample_idx', info['sample_idx']),
                ('flipped', flipped),
                ('gt_channel_order', 'bgr'),
                ('gt_color_type', 'color'),
            ):
                sample.set_field(value, name, field_type='metainfo')
            samples.append(sample)
        return samples

    def _load(self, rows: np.ndarray, flips: np.ndarray) -> torch.Tensor | list[torch.Tensor]:
        """Load images as samples hold them: (3, H, W), uint8, BGR."""
        if self._cache is not None:
            images = self._cache.load(rows, self._decode)
        elif self.image_size is not None:
            images = torch.stack([self._decode(row) for row in rows.tolist()])
        else:  # they may differ in size
            single = [self._decode(row) for row in rows.tolist()]
            return [x.flip(-1) if flip else x for x, flip in zip(single, flips, strict=True)]
        for place in np.flatnonzero(flips).tolist():  # ten times as fast as all at once
            images[place] = images[place].flip(-1)
        return images

    def _decode(self, row: int) -> torch.Tensor:
        try:
            image = self.view(row)
        except BadImageError as error:
            raise BadImageError(
                error.path,
                f'{error.reason}. Restore the file, or remove it and build the bank of priors '
                'again',
            ) from None
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[::-1]))

    def _draw(self, epoch: int, index: int) -> tuple[int, bool, bool]:
        """Draw which row is shown, whether it is flipped, and whether its prior is."""
        if not self.flip and self.num_neighbors is None:
            return index, False, False
        numbers: Any = np.random
        if self.seed is not None:
            # the numbers that seed_randomness would make NumPy's next
            numbers = self._numbers
            numbers.seed(spawn_words(self.seed, epoch, index)[2:4])
        flip = self.flip and bool(numbers.random_sample() < 0.5)
        if self.num_neighbors is None:
            return index, flip, flip
        prior_flip = self.flip and bool(numbers.random_sample() < 0.5)
        row = self.find_neighbors()[index, numbers.randint(self.num_neighbors)]
        return int(row), flip, prior_flip

    def find_neighbors(self) -> np.ndarray:
        """Find the rows (N, ``num_neighbors``) of each image's nearest others, once.

        Raises:
            ValueError: There is no bank.
        """
        if self._neighbors is None:
            if self._load_prior is None:
                raise ValueError(
                    f'num_neighbors={self.num_neighbors} looks for images with similar priors; set '
                    'bank_file, where they are'
                )
            self._neighbors = self._load_prior.find_neighbors(self.image_keys, self.num_neighbors)
        return self._neighbors

    def __getstate__(self) -> dict[str, Any]:
        # copies in processes that are not forked do not share the memory
        return {**self.__dict__, '_cache': None}

    def load_data_list(self) -> list[dict]:
        """List the images.

        Returns:
            list[dict]: For each image ``image_key`` and ``gt_path`` (and ``key``, the same as
            ``image_key``, for the transforms of mmagic), sorted by key.
        """
        if not self.data_root:
            raise ValueError(
                "data_root is empty; set it to the folder of your images ('.' is the current one)"
            )
        root = Path(self.data_root)
        if not root.is_dir():
            what = 'is a file, not a folder' if root.exists() else 'does not exist'
            raise FileNotFoundError(
                f'data_root {self.data_root!r} {what} (looked from {os.getcwd()}); set data_root '
                'to the folder of your images'
            )
        keys = self._keys_of_manifest(root) if self.ann_file else self._keys_of_folder(root)
        return [
            {'image_key': key, 'key': key, 'gt_path': os.path.join(self.data_root, key)}
            for key in sorted(keys)
        ]

    def _keys_of_folder(self, root: Path) -> list[str]:
        keys, others, no_files = [], Counter[str](), []
        for path, is_file in _walk(root):
            ending = path.suffix.lower()
            if ending in IMG_EXTENSIONS:
                keys.append(path.relative_to(root).as_posix())
                if not is_file:
                    no_files.append(keys[-1])
            elif ending not in _OURS:
                others[ending] += 1
        left_out = f'{others.total()} other files ({_count(others)})'
        if not keys:
            found = f'only {left_out}' if others else 'no file at all'
            raise ValueError(
                f'data_root {self.data_root!r} holds no image, {found}; images are told by '
                'their ending, such as .jpg, .png, .webp, .tif'
            )
        if no_files:
            raise ValueError(
                f'{len(no_files)} of {len(keys)} images below data_root {self.data_root!r} are no '
                f'files but broken links, pipes or devices, such as {no_files[0]!r}; remove them'
            )
        unnameable = [key for key in keys if key.encode(errors='ignore').decode() != key]
        if unnameable:
            raise ValueError(
                f'{len(unnameable)} file names below data_root {self.data_root!r} are not valid '
                f'UTF-8, such as {os.fsencode(unnameable[0])!r}; rename these files'
            )
        if others:
            tell(f'{self.data_root} holds {len(keys)} images; left out: {left_out}')
        return keys

    def _keys_of_manifest(self, root: Path) -> list[str]:
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f'ann_file {self.ann_file!r} does not exist; it is the manifest of the images to '
                "use, and a relative path starts at data_root; ann_file='' takes every image"
            )
        keys = read_manifest(self.ann_file, root)
        if not keys:
            raise ValueError(f'the manifest {self.ann_file!r} names no image')
        outside = [
            key
            for key in keys
            if key.startswith('/') or PureWindowsPath(key).drive or '..' in PurePosixPath(key).parts
        ]
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


_OURS = ('.safetensors', '.lock')
"""Endings of what this project writes beside the images: banks, encoders, locks."""


def split_manifest(data_root: str, ann_file: str = '') -> tuple[str, str]:
    """Split a manifest that stands in place of a folder into its folder and its name.

    In both, a leading ``~`` is the home folder.

    Raises:
        ValueError: There is another manifest, too.
    """
    data_root, ann_file = os.path.expanduser(data_root), os.path.expanduser(ann_file)
    if not os.path.isfile(data_root):
        return data_root, ann_file
    if ann_file:
        raise ValueError(
            f'data_root {data_root!r} is a file, not a folder, and ann_file is {ann_file!r}; give '
            'the folder of the images, or one manifest alone'
        )
    folder, name = os.path.split(data_root)
    return folder or '.', name


def read_manifest(file: str | os.PathLike, root: str | os.PathLike) -> list[str]:
    r"""Read the image keys of a manifest, one from each line that is not blank.

    Where ``root`` has no file of that name, ``\`` separates folders. The text is UTF-8, or UTF-16
    with a mark at its start, as Windows writes it.

    Raises:
        ValueError: The file is no such text.
    """
    reason = 'it is no text in UTF-8'
    with open(file, 'rb') as stream:
        head = stream.read(4096)
        encoding = 'utf-16' if head[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8-sig'
        try:
            if encoding != 'utf-16' and b'\0' in head:
                raise ValueError(reason)
            # not splitlines(), which also splits at characters that names may have
            lines = re.split(r'\r\n|\n|\r', (head + stream.read()).decode(encoding))
        except ValueError:
            raise ValueError(
                f'{os.fspath(file)!r} is neither a folder nor a manifest: {reason}, one image a '
                'line; give the folder of the images'
            ) from None
    # only names that have spaces around them need a look at the disk
    names = [
        line if line != line.strip() and Path(root, line).is_file() else line.strip()
        for line in lines
        if line.strip()
    ]
    for row, name in enumerate(names):
        if '\\' in name and not Path(root, name).is_file():
            names[row] = name.replace('\\', '/')
    return [PurePosixPath(name).as_posix() for name in names]


def find_images(place: str | os.PathLike) -> list[str]:
    """List the files of a folder or of a manifest (``.txt``), or name the one file that it is."""
    path = Path(place)
    if path.is_dir() or (path.suffix.lower() == '.txt' and path.is_file()):
        return ImageFolderDataset(str(path)).image_paths
    return [str(path)]


@cache
def tell(text: str, level: int = logging.INFO) -> None:
    """Log a line about the images, once a run, in its first process."""
    if read_launch().rank == 0:
        print_log(text, logger='current', level=level)


def _count(endings: Counter[str]) -> str:
    told = []
    for ending, num in sorted(endings.items()):
        way_out = f', read after pip install {DECODERS[ending]}' if ending in DECODERS else ''
        told.append(f'{num} {ending or "without ending"}{way_out}')
    return '; '.join(told)


def fit_image(image: np.ndarray, image_size: int | None, crop: str = 'center') -> np.ndarray:
    """Crop and resize an image (H, W, 3), uint8, as an :class:`ImageFolderDataset` does."""
    if image_size is None:
        return image
    if crop == 'center':
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        image = image[top : top + side, left : left + side]
    size = (image_size, image_size)
    return mmcv.imresize(image, size, interpolation='bicubic', backend='pillow')


def _walk(root: Path) -> Iterator[tuple[Path, bool]]:
    """Yield what is below ``root``, not hidden and no folder, and whether it is a file.

    Links are followed, but never in circles.
    """
    seen, folders = set[str](), [str(root)]
    while folders:
        folder = folders.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        subfolders = []
        with os.scandir(folder) as entries:
            for entry in entries:
                # '._photo.jpg' and the like are not images but what a system stores beside them
                if entry.name.startswith('.'):
                    continue
                try:
                    is_folder, is_file = entry.is_dir(), entry.is_file()
                except OSError:  # a link to itself
                    is_folder = is_file = False
                if not is_folder:
                    yield Path(entry.path), is_file
                elif not entry.name.endswith('.parts'):  # a bank that is being built
                    subfolders.append(entry.path)
        folders += sorted(subfolders, reverse=True)
