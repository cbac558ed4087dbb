"""Prepare the embedded data set: scikit-learn's handwritten digits, few-shot.

Nothing is downloaded: the 1,797 images (8x8, gray) come with scikit-learn. Written unchanged, as
PNG, to data/digits:

    source/  all images of the classes 0 to 4: what an encoder may be pre-trained on
    train/   100 images, 20 of each of the classes 5 to 9: the few-shot target
    test/    the other images of the classes 5 to 9: held out

Of the held-out images, val.txt lists 200, 40 of each class, by which a snapshot is chosen, and
report.txt the others, on which it is reported: what was chosen on some images flatters on the same.

File names are <class>_<index>.png, where index counts scikit-learn's images from 0.
"""

import numpy as np
from prepared_set import choose, make_key, make_parser, prepare_set, run
from sklearn.datasets import load_digits

SOURCE_CLASSES = range(5)
TARGET_CLASSES = range(5, 10)
NUM_PER_CLASS = 20
NUM_VAL_PER_CLASS = 40


def split_digits(targets: np.ndarray, seed: int) -> dict[str, list[str]]:
    """Divide the digits of classes (M,) into source, train and test, by names <class>_<index>."""
    by_class: dict[int, list[str]] = {digit: [] for digit in range(10)}
    for index, digit in enumerate(targets):
        by_class[int(digit)].append(f'{digit}_{index:04d}')
    splits: dict[str, list[str]] = {'source': [], 'train': [], 'test': []}
    for digit in SOURCE_CLASSES:
        splits['source'] += by_class[digit]
    for digit in TARGET_CLASSES:
        train = choose(by_class[digit], NUM_PER_CLASS, seed, f'images of the digit {digit}')
        splits['train'] += train
        splits['test'] += sorted(set(by_class[digit]) - set(train))
    return splits


def choose_val(names: list[str], seed: int) -> set[str]:
    """Choose the held-out images that select a snapshot, as many of each class."""
    chosen: set[str] = set()
    for digit in TARGET_CLASSES:
        of_class = [name for name in names if name.startswith(f'{digit}_')]
        chosen.update(choose(of_class, NUM_VAL_PER_CLASS, seed, f'images of the digit {digit}'))
    return chosen


def main(argv: list[str] | None = None) -> None:
    args = make_parser(__doc__, 'data/digits').parse_args(argv)
    digits = load_digits()
    # 17 gray levels, 0 to 16, spread over 0 to 255
    images = np.round(digits.images * 255 / 16).astype(np.uint8)
    splits = split_digits(digits.target, args.seed)
    val = choose_val(splits['test'], args.seed)
    with prepare_set(args.out, {'converter': 'digits', 'seed': args.seed}) as prepared:
        for split, names in splits.items():
            chosen = {make_key(split, name): name for name in names}
            prepared.write_images(split, chosen, lambda name: images[int(name.split('_')[1])])
        keys = {make_key('test', name) for name in splits['test']}
        val_keys = {make_key('test', name) for name in val}
        prepared.write_manifest('val', val_keys)
        prepared.write_manifest('report', keys - val_keys)


if __name__ == '__main__':
    run(main)
