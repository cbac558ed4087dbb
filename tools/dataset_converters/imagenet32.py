"""Prepare ImageNet at 32x32 (Chrabaszcz, Loshchilov and Hutter, 2017) as PNGs.

Log in to https://image-net.org/download-images.php and download, under "Downsampled image data",
both parts of the 32x32 version, training and validation, best in the *npz format*:

    Imagenet32_train_npz.zip  train_data_batch_1.npz to train_data_batch_10.npz
    Imagenet32_val_npz.zip    val_data.npz

Give both archives, or the folder or folders that they were unpacked to. The other format (the same
names without .npz) is made of pickles, which could run any code when opened; they are read without
running anything.

Written to data/imagenet32, 32x32, pixels unchanged, 5 GB:

    train/<label>/<batch>_<row>.png   1,281,167 images
    test/<label>/<batch>_<row>.png    50,000 images, the validation part
    train.txt, test.txt

Labels are those of the download, 0001 to 1000. One batch at a time is in memory (1 GB); a run
that was interrupted goes on where it stopped.
"""

from functools import partial

import numpy as np
from download import Download
from prepared_set import make_key, make_parser, run
from read_batch import read_batch
from streamed_set import StreamedSet

from disp_plugin.progress import track

BATCHES = {
    'train': tuple(f'train_data_batch_{i}' for i in range(1, 11)),
    'test': ('val_data',),
}
NUM_CLASSES = 1000


def find_batch(downloads: list[Download], stem: str) -> tuple[Download, str]:
    """Find a batch in what was downloaded, the npz format first.

    Args:
        downloads (list[Download]): Archives and folders to look in.
        stem (str): Name of the batch without a suffix.

    Returns:
        tuple[Download, str]: Where it is, and its name there.

    Raises:
        FileNotFoundError: It is nowhere.
    """
    for ending in (f'{stem}.npz', stem):
        for download in downloads:
            try:
                return download, download.find(ending)
            except FileNotFoundError:
                continue
    places = ' or '.join(str(download.path) for download in downloads)
    raise FileNotFoundError(
        f'neither {stem}.npz nor {stem} is in {places}; see --help for what to download'
    )


def add_batch(
    prepared: StreamedSet, split: str, number: int, images: np.ndarray, labels: np.ndarray
) -> None:
    """Write the images of one batch.

    Args:
        prepared (StreamedSet): Where to.
        split (str): Their split.
        number (int): Number of the batch in its split, from 1 on.
        images (np.ndarray): (M,32,32,3), uint8 RGB.
        labels (np.ndarray): (M,).

    Raises:
        ValueError: A label is not that of a class.
    """
    stem = BATCHES[split][number - 1]
    if labels.min() < 1 or labels.max() > NUM_CLASSES:
        raise ValueError(
            f'{stem} holds labels from {labels.min()} to {labels.max()}, but those of the '
            f'downsampled ImageNet are 1 to {NUM_CLASSES}'
        )
    title = f'{prepared.out.name}/{split}, batch {number} of {len(BATCHES[split])}'
    for row in track(range(len(images)), len(images), title):
        key = make_key(split, f'{number:02d}_{row:06d}', f'{labels[row]:04d}')
        prepared.add(split, key, f'{stem}:{row}', partial(images.__getitem__, row))


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__, 'data/imagenet32', seed=None)
    parser.add_argument('downloads', nargs='+', help='archives or unpacked folders')
    args = parser.parse_args(argv)
    downloads = [Download(path) for path in args.downloads]
    # all are looked for before hours are spent on the first
    found = {s: [find_batch(downloads, stem) for stem in stems] for s, stems in BATCHES.items()}
    with StreamedSet(args.out, {'converter': 'imagenet32'}) as prepared:
        for split, batches in found.items():
            for number, (download, name) in enumerate(batches, 1):
                images, labels = read_batch(download.read(name), name)
                add_batch(prepared, split, number, images, labels)


if __name__ == '__main__':
    run(main)
