"""A data set that is a random part of one pool of images: some to train on, some held out."""

from pathlib import PurePosixPath

from download import Download
from prepared_set import Chosen, PreparedSet, make_key, make_parser, rank


def split_pool(names: list[str], num_train: int, num_test: int, seed: int) -> dict[str, list[str]]:
    """Divide a pool of images at random into train, test and the unused rest.

    The order of the images hangs on the names of the files without their folders, so that the
    same images are chosen however the download was unpacked.

    Args:
        names (list[str]): Paths of the images in the download.
        num_train (int): Images to train on.
        num_test (int): Images held out; fewer where the pool has fewer.
        seed (int): Seed of the choice.

    Returns:
        dict[str, list[str]]: Paths by split: ``train``, ``test``, ``unused``, each in the order of
        ``names``.

    Raises:
        ValueError: Two images have the same name, or there are not enough of them.
    """
    by_stem: dict[str, str] = {}
    for name in names:
        stem = PurePosixPath(name).stem
        if stem in by_stem:
            raise ValueError(
                f'{by_stem[stem]} and {name} have the same name; rename one of them, or leave out '
                'the folder that holds copies'
            )
        by_stem[stem] = name
    if len(by_stem) <= num_train:
        raise ValueError(
            f'{num_train} images to train on and at least one held out are needed, but only '
            f'{len(by_stem)} were found; is the download complete?'
        )
    ranked = rank(by_stem, seed)
    parts = {
        'train': set(ranked[:num_train]),
        'test': set(ranked[num_train : num_train + num_test]),
        'unused': set(ranked[num_train + num_test :]),
    }
    return {
        split: [name for stem, name in by_stem.items() if stem in part]
        for split, part in parts.items()
    }


def convert_pool(
    argv: list[str] | None, doc: str | None, out: str, num_train: int, num_test: int
) -> None:
    """Convert a pool of images: the body of each converter whose set is a random part of one.

    Args:
        argv (list[str] | None): Command line; the process's own when None.
        doc (str | None): Text of ``--help``.
        out (str): Default of ``--out``.
        num_train (int): Images to train on.
        num_test (int): Default of ``--num-test``.
    """
    parser = make_parser(doc, out)
    parser.add_argument('download', help='folder, tar or zip with the images')
    parser.add_argument('--size', type=int, default=128, help='side in pixels (default: 128)')
    parser.add_argument(
        '--num-test', type=int, default=num_test, help=f'images held out (default: {num_test})'
    )
    args = parser.parse_args(argv)
    download = Download(args.download)
    splits = split_pool(download.image_names(), num_train, args.num_test, args.seed)
    record = {
        'size': args.size,
        'seed': args.seed,
        'num_train': num_train,
        'num_test': args.num_test,
        'num_found': sum(map(len, splits.values())),
    }
    prepared = PreparedSet(args.out, record)
    for split in ('train', 'test'):
        chosen: Chosen = {make_key(split, name): name for name in splits[split]}
        prepared.write_images(split, chosen, lambda name: download.read_image(name, args.size))
    prepared.write_manifest('unused', splits['unused'])
