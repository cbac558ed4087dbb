"""Prepare CIFAR-10 or CIFAR-100 as PNGs, with manifests of 100, 20 and 10 % of the training split.

Download the *binary version* (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz) from
https://www.cs.toronto.edu/~kriz/cifar.html and give the archive or its unpacked folder. The python
version is not read: it is made of pickles, which can run any code when they are opened.

Written to data/cifar10 or data/cifar100, 32x32, pixels unchanged:

    train/<class>/<index>.png, test/<class>/<index>.png
    train.txt, train_20p.txt, train_10p.txt, val.txt, test.txt

The 10 % are among the 20 %; they are drawn without regard to the classes (not stated in the paper).
val.txt has 5,000 training images that are not among the 20 %, to choose a snapshot by where no more
are trained on. Beside all of the training images nothing is left for that.
"""

from dataclasses import dataclass

import numpy as np
from download import Download
from prepared_set import make_key, make_parser, prepare_set, rank, run

# manifest -> where in the ranking of the training images it begins and ends, in percent
PARTS = {'train_20p': (0, 20), 'train_10p': (0, 10), 'val': (20, 30)}


@dataclass(frozen=True)
class Layout:
    """How one of the two data sets is stored.

    Args:
        train (tuple[str, ...]): Files of the training split.
        test (str): File of the test split.
        classes (str): File with the names of the classes, one a line.
        num_labels (int): Label bytes before the pixels; the last of them is the class.
        python_file (str): A file of the python version, to tell it apart.
    """

    train: tuple[str, ...]
    test: str
    classes: str
    num_labels: int
    python_file: str


LAYOUTS = {
    'cifar10': Layout(
        tuple(f'data_batch_{i}.bin' for i in range(1, 6)),
        'test_batch.bin',
        classes='batches.meta.txt',
        num_labels=1,
        python_file='data_batch_1',
    ),
    'cifar100': Layout(
        ('train.bin',),
        'test.bin',
        classes='fine_label_names.txt',
        num_labels=2,
        python_file='train',
    ),
}


def read_records(content: bytes, num_labels: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a file of the binary version: images (M,32,32,3), uint8 RGB, and classes (M,), uint8.

    A record has ``num_labels`` bytes of labels, then 32x32 bytes of each color.

    Raises:
        ValueError: The file does not consist of whole records.
    """
    length = num_labels + 3 * 32 * 32
    if not content or len(content) % length:
        raise ValueError(
            f'{name} has {len(content)} bytes, not a multiple of {length}; is it whole, and '
            'the binary version?'
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    images = records[:, num_labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, records[:, num_labels - 1]


def read_split(
    download: Download, files: tuple[str, ...], layout: Layout
) -> tuple[np.ndarray, list[str]]:
    """Read the images and the names of their classes from all files of a split."""
    classes = download.read(download.find(layout.classes)).decode().split()
    parts = [
        read_records(download.read(download.find(file)), layout.num_labels, file) for file in files
    ]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if labels.max() >= len(classes):
        raise ValueError(
            f'{files[0]} holds class {labels.max()}, but {layout.classes} names {len(classes)}'
        )
    return images, [classes[label] for label in labels]


def main(argv: list[str] | None = None) -> None:
    download_help = 'the archive or its unpacked folder'
    parser = make_parser(__doc__, 'data/<name>', names=LAYOUTS, download=download_help)
    args = parser.parse_args(argv)
    layout, download = LAYOUTS[args.name], Download(args.download)
    names = {name.rsplit('/', 1)[-1] for name in download.names}
    if layout.python_file in names and layout.train[0] not in names:
        raise ValueError(
            f'{download.path} is the python version, made of pickles, which can run any code when '
            'opened. Download the binary version instead, see --help.'
        )
    out = args.out.replace('<name>', args.name)
    with prepare_set(out, {'converter': args.name, 'seed': args.seed}) as prepared:
        for split, files in (('train', layout.train), ('test', (layout.test,))):
            images, labels = read_split(download, files, layout)
            chosen = {
                make_key(split, f'{index:05d}', label): f'{index:05d}'
                for index, label in enumerate(labels)
            }
            prepared.write_images(split, chosen, lambda name, images=images: images[int(name)])
            ranked = rank(chosen, args.seed)
            for name, (begin, end) in PARTS.items() if split == 'train' else ():
                part = ranked[len(ranked) * begin // 100 : len(ranked) * end // 100]
                prepared.write_manifest(name, part)


if __name__ == '__main__':
    run(main)
