"""Prepare Places2.5k: 500 images of each of five classes of Places365, at 128 px.

Download "Places365-Standard", small images (256 x 256), from http://places2.csail.mit.edu
(download-private.html): either the "easy directory structure" (places365standard_easyformat.tar,
with train/alley/00000001.jpg) or the training images (train_256_places365standard.tar, with
data_256/a/alley/00000001.jpg), the tar itself or its unpacked folder. Validation images
(val/...) are not used.

Written to data/places2.5k, as PNG resized to --size:

    train/<class>/  500 random images of each of alley, arch, art_gallery, auditorium, ballroom
    test/<class>/   500 others of each, held out (--num-test, of each class; not in the paper)
    val/<class>/    410 others of each, to choose a snapshot by (--num-val, of each class)
"""

from pathlib import PurePosixPath

from download import Download
from prepared_set import Chosen, choose, make_key, make_parser, prepare_set, run

CLASSES = ('alley', 'arch', 'art_gallery', 'auditorium', 'ballroom')
NUM_PER_CLASS = 500


def choose_images(names: list[str], sizes: dict[str, int], seed: int) -> dict[str, Chosen]:
    """Choose images of each of the five classes: as many as ``sizes`` says of each split.

    Raises:
        ValueError: There are too few images of a class.
    """
    found: dict[str, dict[str, str]] = {label: {} for label in CLASSES}
    for name in names:
        path = PurePosixPath(name)
        label = path.parent.name
        if label in found and 'val' not in path.parts:
            # ranked by class and name, as every class has an image 00000001
            found[label][f'{label}/{path.stem}'] = name
    splits: dict[str, Chosen] = {split: {} for split in sizes}
    for label, paths in found.items():
        left = set(paths)
        for split, num in sizes.items():
            part = set(choose(left, num, seed, f'images of {label} for {split}'))
            left -= part
            splits[split].update(
                {make_key(split, name, label): path for name, path in paths.items() if name in part}
            )
    return splits


def main(argv: list[str] | None = None) -> None:
    download_help = 'the tar or its unpacked folder'
    parser = make_parser(
        __doc__, 'data/places2.5k', download=download_help, size=128, num_test=500, num_val=410
    )
    args = parser.parse_args(argv)
    download = Download(args.download)
    sizes = {'train': NUM_PER_CLASS, 'test': args.num_test, 'val': args.num_val}
    splits = choose_images(download.image_names(), sizes, args.seed)
    record = {
        'converter': 'places2_5k',
        'size': args.size,
        'seed': args.seed,
        'num_test': args.num_test,
        'num_val': args.num_val,
    }
    with prepare_set(args.out, record) as prepared:
        download.prepare(prepared, splits, args.size)


if __name__ == '__main__':
    run(main)
