"""A data set that is a random part of one pool: some images to train on, others held out."""

import argparse
from pathlib import PurePosixPath

from download import Download
from prepared_set import make_key, prepare_set, rank


def split_pool(
    names: list[str], num_train: int, num_test: int, num_val: int, seed: int
) -> dict[str, list[str]]:
    """Divide a pool of images at random into train, test, val and the unused rest.

    The file names without their folders decide, so that the same images are chosen however the
    download was unpacked. Smaller training sets are parts of larger ones, and the test images are
    the same for all. Where the pool has fewer than ``num_test`` others, all of them are the test
    images, and there are none to validate on.

    Returns:
        dict[str, list[str]]: Paths by split: ``train``, ``test``, ``val``, ``unused``, each in the
        order of ``names``.

    Raises:
        ValueError: Two images have the same name, there are not enough of them, or a number is out
            of range.
    """
    if num_train < 1 or min(num_test, num_val) < 0:
        raise ValueError(
            '--num-train must be at least 1, and --num-test and --num-val 0, but they are '
            f'{num_train}, {num_test} and {num_val}'
        )
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
    place = {stem: index for index, stem in enumerate(rank(by_stem, seed))}
    first_test = max(num_train, len(by_stem) - num_test)
    first_val = max(num_train, first_test - num_val)
    ends = {'train': (0, num_train), 'unused': (num_train, first_val)}
    ends |= {'val': (first_val, first_test), 'test': (first_test, len(by_stem))}
    return {
        split: [name for stem, name in by_stem.items() if begin <= place[stem] < end]
        for split, (begin, end) in ends.items()
    }


def convert_pool(args: argparse.Namespace, name: str, num_train: int) -> None:
    """Convert a pool of images, as a command line of :func:`prepared_set.make_parser` says."""
    download = Download(args.download)
    names = download.image_names()
    splits = split_pool(names, num_train, args.num_test, args.num_val, args.seed)
    unused = splits.pop('unused')
    record = {
        'size': args.size,
        'seed': args.seed,
        'num_train': num_train,
        'num_test': args.num_test,
        'num_val': args.num_val,
        'num_found': sum(map(len, splits.values())) + len(unused),
    }
    with prepare_set(args.out.replace('<name>', name), record) as prepared:
        chosen = {s: {make_key(s, path): path for path in paths} for s, paths in splits.items()}
        download.prepare(prepared, chosen, args.size)
        prepared.write_manifest('unused', unused)
