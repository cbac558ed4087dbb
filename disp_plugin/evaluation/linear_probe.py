"""What priors know: the accuracy of a linear classifier on them."""

import csv
import io
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

__all__ = ['Probe', 'image_labels', 'linear_probe']


class Probe(NamedTuple):
    """How well a linear classifier does on images that it was not fitted to.

    Attributes:
        accuracy (float): Mean over the folds.
        standard_deviation (float): Among the folds.
        majority (float): Accuracy of always naming the most frequent class, on the same folds.
    """

    accuracy: float
    standard_deviation: float
    majority: float
    num_images: int
    num_classes: int
    num_folds: int


def linear_probe(
    features: np.ndarray, labels: Sequence[str], num_folds: int = 5, seed: int = 0
) -> Probe:
    """Measure the accuracy of logistic regression on features, by cross-validation.

    Features are standardized within each fold. Every fold holds as many images of a class as any
    other, or one more.

    Args:
        features (np.ndarray): (N, D), such as the priors of a bank.
        labels (Sequence[str]): Class of each image.
        num_folds (int): Folds; fewer where the smallest class has fewer images. Defaults to 5.
        seed (int): Of the folds. Defaults to 0.

    Returns:
        Probe: Held-out accuracy.

    Raises:
        ValueError: There are fewer than 2 classes or folds, a class has a single image, or there is
            not one label for each image.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = Counter(labels)
    _check(len(features), counts, num_folds)
    num_folds = min(num_folds, *counts.values())
    x, y = np.asarray(features, dtype=np.float64), np.asarray(labels)
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        # the accuracy of what a thousand steps reach is the number that is asked for
        warnings.simplefilter('ignore', ConvergenceWarning)
        scores = cross_val_score(classifier, x, y, cv=folds)
    majority = cross_val_score(DummyClassifier(strategy='most_frequent'), x, y, cv=folds)
    mean, spread, most = map(float, (scores.mean(), scores.std(ddof=1), majority.mean()))
    return Probe(mean, spread, most, len(y), len(counts), num_folds)


def _check(num_images: int, counts: Counter[str], num_folds: int) -> None:
    if num_images != counts.total():
        raise ValueError(f'there are {counts.total()} labels for {num_images} images')
    if num_folds < 2:
        raise ValueError(f'num_folds must be at least 2, but is {num_folds}')
    if len(counts) < 2:
        raise ValueError(
            f'a probe tells classes apart, but all {num_images} images are of '
            f'{len(counts)} class: {", ".join(counts) or "none"}; give other labels'
        )
    rare, count = min(counts.items(), key=lambda item: item[1])
    if count < 2:
        raise ValueError(
            f'the class {rare!r} has a single image, which cannot be held out; leave it out'
        )


def image_labels(keys: Sequence[str], source: str | Path | None = None) -> list[str]:
    """Find the class of each image.

    Args:
        keys (Sequence[str]): Image keys, such as ``cats/0001.png`` or ``train/5_0012.png``.
        source (str | Path | None): 'folder', the folder that the image lies in; 'prefix', what
            stands before the first ``_`` of its file name; or a CSV file whose lines are an image
            key and its label. Defaults to None: the folder, or the prefix where all images lie in
            one folder.

    Returns:
        list[str]: One label for each key.

    Raises:
        FileNotFoundError: There is no such CSV file.
        ValueError: An image has no label, the CSV file is not UTF-8, or a line of it is none.
    """
    paths = [PurePosixPath(key) for key in keys]
    if source is None:
        source = 'folder' if len({path.parent for path in paths}) > 1 else 'prefix'
    if source == 'folder':
        labels, reason = [path.parent.name for path in paths], 'lies in no folder'
    elif source == 'prefix':
        prefixes = [path.name.partition('_') for path in paths]
        labels, reason = [before if mark else '' for before, mark, _ in prefixes], "has no '_'"
    else:
        return _look_up(keys, Path(source))
    if '' in labels:
        raise ValueError(
            f'the image {keys[labels.index("")]!r} {reason}, which tells no class; give a CSV file '
            'of image keys and labels'
        )
    return labels


def _look_up(keys: Sequence[str], file: Path) -> list[str]:
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no file {file}; labels come from 'folder', 'prefix' or a CSV file"
        )
    try:
        text = file.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{file} is not UTF-8 text (byte {error.start}); save it as UTF-8'
        ) from error
    rows = [row for row in csv.reader(io.StringIO(text, newline='')) if row]
    for row in rows:
        if len(row) != 2:
            raise ValueError(
                f'a line of {file} is {",".join(row)!r}, but should be an image key and its label'
            )
    known = set(keys)
    named = {key.strip(): label.strip() for key, label in rows}
    # as Windows writes paths
    table = {k if k in known else k.replace('\\', '/'): label for k, label in named.items()}
    missing = [key for key in keys if key not in table]
    if missing:
        raise ValueError(
            f'{file} has no label for {len(missing)} of {len(keys)} images, such as '
            f'{missing[0]!r}; image keys are paths below the data root'
        )
    return [table[key] for key in keys]
