"""Labels of which a share no longer says what an image shows."""

from collections.abc import Sequence

import numpy as np

__all__ = ['corrupt_labels']


def corrupt_labels(labels: Sequence[str], share: float, seed: int = 0) -> list[str]:
    """Permute the labels of a random share of the images among them.

    How often each label occurs does not change. By chance some of those images keep their label,
    one in K where K classes are equally frequent. With the same seed a larger share contains the
    images of a smaller one.

    Args:
        labels (Sequence[str]): Label of each image.
        share (float): Share of the images, in [0, 1].
        seed (int): Of the choice and of the permutation. Defaults to 0.

    Returns:
        list[str]: Label of each image; the same list for a share of 0.

    Raises:
        ValueError: The share is out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f'the share of corrupted labels must be from 0 to 1, but is {share}')
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    corrupted = list(labels)
    for row, source in zip(chosen, rng.permutation(chosen), strict=True):
        corrupted[row] = labels[source]
    return corrupted
