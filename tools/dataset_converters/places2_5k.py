"""Prepare Places2.5k: 500 images of each of five classes of Places365, at 128 px.

Download "Places365-Standard", small images (256 x 256), from http://places2.csail.mit.edu
(download-private.html): either the "easy directory structure" (places365standard_easyformat.tar,
with train/alley/00000001.jpg) or the training images (train_256_places365standard.tar, with
data_256/a/alley/00000001.jpg), the tar itself or its unpacked folder. Validation images
(val/...) are not used.

Written to data/places2.5k, as PNG resized to --size:

    train/<class>/  500 random images of each of alley, arch, art_gallery, auditorium, ballroom
    test/<class>/   500 others of each, held out (--num-test; not stated in the paper)
"""

from pathlib import PurePosixPath

from download import Download
from prepared_set import Chosen, PreparedSet, choose, make_key, make_parser, run

CLASSES = ('alley', 'arch', 'art_gallery', 'auditorium', 'ballroom')
NUM_PER_CLASS = 500


def find_classes(names: list[str]) -> dict[str, dict[str, str]]:
    """Sort the images of the five classes out of the data set.

    Args:
        names (list[str]): Paths of the images in the download.

    Returns:
        dict[str, dict[str, str]]: Class -> name of the image without folders -> its path.
    """
    found: dict[str, dict[str, str]] = {name: {} for name in CLASSES}
    for name in names:
        path = PurePosixPath(name)
        if path.parent.name in found and 'val' not in path.parts:
            found[path.parent.name][path.stem] = name
    return found


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__, 'data/places2.5k')
    parser.add_argument('download', help='the tar or its unpacked folder')
    parser.add_argument('--size', type=int, default=128, help='side in pixels (default: 128)')
    parser.add_argument(
        '--num-test', type=int, default=500, help='held-out images a class (default: 500)'
    )
    args = parser.parse_args(argv)
    download = Download(args.download)
    splits: dict[str, Chosen] = {'train': {}, 'test': {}}
    for label, found in find_classes(download.image_names()).items():
        # ranked by class and name, as every class has an image 00000001
        names = {f'{label}/{stem}': path for stem, path in found.items()}
        train = choose(names, NUM_PER_CLASS, args.seed, f'images of {label}')
        test = choose(names.keys() - set(train), args.num_test, args.seed, f'more of {label}')
        for split, part in (('train', set(train)), ('test', set(test))):
            splits[split].update(
                {make_key(split, name, label): path for name, path in names.items() if name in part}
            )
    record = {
        'converter': 'places2_5k',
        'size': args.size,
        'seed': args.seed,
        'num_test': args.num_test,
    }
    prepared = PreparedSet(args.out, record)
    for split, chosen in splits.items():
        prepared.write_images(split, chosen, lambda name: download.read_image(name, args.size))


if __name__ == '__main__':
    run(main)
