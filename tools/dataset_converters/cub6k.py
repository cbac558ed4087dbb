"""Prepare CUB6k: the complete training split of CUB-200-2011, 5,994 birds, at 128 px.

Download CUB_200_2011.tgz (1.2 GB) from https://www.vision.caltech.edu/datasets/cub_200_2011 and
give the archive or its unpacked folder. Expected: CUB_200_2011/images.txt,
CUB_200_2011/train_test_split.txt and CUB_200_2011/images/<class>/<name>.jpg.

Written to data/cub6k, as PNG: the central square of each image, resized to --size:

    train/<class>/  the images that train_test_split.txt marks 1 (5,994)
    test/<class>/   the others (5,794), held out
"""

from pathlib import PurePosixPath

from download import Download
from prepared_set import Chosen, make_key, make_parser, prepare_set, run


def read_table(download: Download, ending: str) -> dict[str, str]:
    """Read a table of CUB, ``<image id> <value>`` a line; refuse lines of another form."""
    table = {}
    for line in download.read(download.find(ending)).decode().splitlines():
        fields = line.split(maxsplit=1)
        if len(fields) != 2:
            raise ValueError(f'{ending} of {download.path} holds a line {line!r}, not <id> <value>')
        table[fields[0]] = fields[1].strip()
    return table


def split_birds(download: Download) -> dict[str, Chosen]:
    """Divide the images into ``train`` and ``test``, as train_test_split.txt says.

    Raises:
        ValueError: An image is in one table and not in the other, or has no file.
    """
    paths = read_table(download, 'images.txt')
    is_train = read_table(download, 'train_test_split.txt')
    if paths.keys() != is_train.keys():
        odd = sorted(paths.keys() ^ is_train.keys())
        raise ValueError(f'images.txt and train_test_split.txt differ in the images {odd[:5]}')
    root = PurePosixPath(download.find('images.txt')).parent / 'images'
    split_of = {str(root / paths[i]): 'train' if is_train[i] == '1' else 'test' for i in paths}
    absent = split_of.keys() - set(download.names)
    if absent:
        raise ValueError(
            f'{len(absent)} images listed in images.txt are not in {download.path}, the first is '
            f'{min(absent)}; download it again'
        )
    splits: dict[str, Chosen] = {'train': {}, 'test': {}}
    for name in download.names:
        if name in split_of:
            split = split_of[name]
            splits[split][make_key(split, name, PurePosixPath(name).parent.name)] = name
    return splits


def main(argv: list[str] | None = None) -> None:
    download_help = 'CUB_200_2011.tgz or its unpacked folder'
    parser = make_parser(__doc__, 'data/cub6k', seed=False, download=download_help, size=128)
    args = parser.parse_args(argv)
    download = Download(args.download)
    splits = split_birds(download)
    with prepare_set(args.out, {'converter': 'cub6k', 'size': args.size}) as prepared:
        download.prepare(prepared, splits, args.size)


if __name__ == '__main__':
    run(main)
