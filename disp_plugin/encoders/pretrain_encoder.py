"""Encoders from one's own images: by SimCLR without labels, or by classification."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from disp_plugin.datasets import ImageFolderDataset

from .pretraining_run import (
    ClassificationHead,
    ContrastiveHead,
    PretrainOptions,
    PretrainResult,
    PretrainSettings,
    pretrain,
)

__all__ = ['SimCLROptions', 'corrupt_labels', 'pretrain_simclr', 'pretrain_supervised']


@dataclass(frozen=True)
class SimCLROptions(PretrainOptions):
    """How to train by SimCLR; the options of :class:`PretrainOptions` come first.

    Args:
        temperature (float): Of the NT-Xent loss. Defaults to 0.2.
        projection_dim (int): Length of what the loss sees, behind the head that is thrown away.
            Defaults to 128.

    Raises:
        ValueError: A value is out of range.
    """

    temperature: float = 0.2
    projection_dim: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f'temperature must be positive, but is {self.temperature}')


def pretrain_simclr(
    data_root: str,
    out_file: str | Path,
    options: SimCLROptions | None = None,
    ann_file: str = '',
    settings: PretrainSettings | None = None,
    white_level: float | None = None,
) -> PretrainResult:
    """Train an encoder on a folder of images by SimCLR, without any label.

    Args:
        data_root (str): Folder of images.
        out_file (str | Path): File to write, ``.safetensors`` or any other name for ``torch.save``.
        options (SimCLROptions | None): How to train. Defaults to None.
        ann_file (str): Manifest of the images to use, as for ``ImageFolderDataset``. Defaults to
            ''.
        settings (PretrainSettings | None): What the result does not depend on. Defaults to None.
        white_level (float | None): Of 16-bit images, as for ``ImageFolderDataset``. Defaults to
            None.

    Returns:
        PretrainResult: The file; ``loss`` is the NT-Xent of the last epoch, ln(2 batch_size - 1) by
        chance, and ``score`` the fraction of its views that found their pair in the batch.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: As :func:`pretrain`.
    """
    chosen = options or SimCLROptions()
    return pretrain(
        ImageFolderDataset(data_root, ann_file, white_level=white_level),
        out_file,
        chosen,
        lambda prior_dim: ContrastiveHead(prior_dim, chosen.projection_dim, chosen.temperature),
        settings,
    )


def pretrain_supervised(
    data_root: str,
    out_file: str | Path,
    labels: Mapping[str, str],
    corrupted_fraction: float = 0.0,
    options: PretrainOptions | None = None,
    ann_file: str = '',
    settings: PretrainSettings | None = None,
    white_level: float | None = None,
) -> PretrainResult:
    """Train an encoder on a folder of images by classification, with some labels corrupted.

    The paper trains a ResNet50 on label-corrupted CIFAR-100 and takes its features for priors, to
    show that what an encoder knows matters. Arguments are those of :func:`pretrain_simclr`, and:

    Args:
        labels (Mapping[str, str]): Label of each image, by image key.
        corrupted_fraction (float): Fraction of the images whose labels are permuted, see
            :func:`corrupt_labels`, by the seed of the ``options``. Defaults to 0.0.

    Returns:
        PretrainResult: The file; ``loss`` is the cross-entropy of the last epoch, and ``score`` the
        fraction of its views that were given the label they were trained with.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: An image has no label, there is a single class, or as :func:`pretrain`.
    """
    options = options or PretrainOptions()
    dataset = ImageFolderDataset(data_root, ann_file, white_level=white_level)
    keys = dataset.image_keys
    missing = [key for key in keys if key not in labels]
    if missing:
        raise ValueError(f'{len(missing)} images have no label, such as {missing[0]!r}')
    given = corrupt_labels([labels[key] for key in keys], corrupted_fraction, options.seed)
    classes = {name: index for index, name in enumerate(sorted(set(given)))}
    if len(classes) < 2:
        raise ValueError(f'all {len(keys)} images of {data_root!r} are of one class: {given[0]!r}')
    digest = hashlib.sha256(json.dumps(given).encode()).hexdigest()
    return pretrain(
        dataset,
        out_file,
        options,
        lambda prior_dim: ClassificationHead(prior_dim, len(classes)),
        settings,
        targets=[classes[name] for name in given],
        details={'labels': digest, 'corrupted_fraction': corrupted_fraction},
    )


def corrupt_labels(labels: Sequence[str], fraction: float, seed: int = 0) -> list[str]:
    """Permute the labels of a random fraction of the images.

    How often each label occurs does not change. By chance some of those images keep their label,
    one in K where K classes are equally frequent. With the same seed a larger fraction contains the
    images of a smaller one.

    Raises:
        ValueError: The fraction is not in [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f'the fraction of corrupted labels must be from 0 to 1, but is {fraction}')
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(labels))[: round(fraction * len(labels))]
    corrupted = list(labels)
    for row, source in zip(chosen, rng.permutation(chosen), strict=True):
        corrupted[row] = labels[source]
    return corrupted
