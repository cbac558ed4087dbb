"""Classification on a folder of labeled images: encoders that know true or corrupted labels."""

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from disp_plugin.datasets import ImageFolderDataset

from .corrupt_labels import corrupt_labels
from .pretrain_simclr import SimCLRResult, pretrain_simclr
from .simclr_run import SimCLROptions, SimCLRRun
from .simclr_views import TwoViews, ViewOptions

__all__ = ['SupervisedRun', 'pretrain_supervised']


class LabelledViews(TwoViews):
    """Image files as pairs of random views with their classes.

    Args:
        paths (list[str]): The files.
        options (ViewOptions): What a view keeps.
        classes (Mapping[str, int]): Class of each file.
    """

    def __init__(self, paths: list[str], options: ViewOptions, classes: Mapping[str, int]) -> None:
        super().__init__(paths, options)
        self.classes = classes

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index), self.classes[self.paths[index]]


class SupervisedRun(SimCLRRun):
    """The state of a training by classification: SimCLR's, with another head and loss.

    Args:
        options (SimCLROptions): How to train; ``temperature`` and ``projection_dim`` have no
            effect.
        identity (dict): All that the result depends on.
        device (str): Where to train.
        amp (bool | None): Autocast to float16; None: on a GPU. Defaults to None.
        classes (Mapping[str, int]): Class of each image file, from 0 on.
    """

    outcome = 'of the views are given their label'

    def __init__(
        self,
        options: SimCLROptions,
        identity: dict,
        device: str,
        amp: bool | None = None,
        *,
        classes: Mapping[str, int],
    ) -> None:
        self.classes = classes
        super().__init__(options, identity, device, amp)

    def _make_head(self) -> tuple[nn.Module, Any]:
        return nn.Linear(self.prior_dim, max(self.classes.values()) + 1), nn.CrossEntropyLoss()

    def _make_views(self, paths: list[str]) -> LabelledViews:
        return LabelledViews(paths, self.options.views, self.classes)

    def _judge(self, first: Tensor, second: Tensor, *targets: Tensor) -> tuple[Tensor, Tensor]:
        scores, label = torch.cat([first, second]), torch.cat([*targets, *targets])
        return self.loss_fn(scores, label), (scores.argmax(dim=1) == label).float().mean()

    def _remedy_for_divergence(self) -> str:
        return f'train with a lower lr than {self.options.lr}'


def pretrain_supervised(
    data_root: str,
    out_file: str | Path,
    labels: Mapping[str, str],
    corrupted_share: float = 0.0,
    options: SimCLROptions | None = None,
    ann_file: str = '',
    **kwargs: Any,
) -> SimCLRResult:
    """Train an encoder on a folder of images by classification, with some labels corrupted.

    The paper trains a ResNet50 on label-corrupted CIFAR-100 and takes its features for priors, to
    show that what an encoder knows matters. Images, views, schedule, saving and resuming are those
    of :func:`pretrain_simclr`.

    Args:
        data_root (str): Folder of images.
        out_file (str | Path): File to write, ``.safetensors`` or any other name for ``torch.save``.
        labels (Mapping[str, str]): Label of each image, by image key.
        corrupted_share (float): Share of images among which labels are permuted, see
            :func:`corrupt_labels`. Defaults to 0.0.
        options (SimCLROptions | None): How to train; its ``seed`` is that of the corruption too.
            Defaults to None.
        ann_file (str): Manifest of the images to use. Defaults to ''.
        **kwargs: Of :func:`pretrain_simclr`, as ``device``.

    Returns:
        SimCLRResult: The file; ``loss`` is the cross-entropy of the last epoch, and ``paired`` the
        share of its views that were given the label they were trained with.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: An image has no label, there is a single class, or as for
            :func:`pretrain_simclr`.
        OSError: ``out_file`` cannot be written.
    """
    options = options or SimCLROptions()
    dataset = ImageFolderDataset(data_root=data_root, ann_file=ann_file)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    missing = [info['image_key'] for info in infos if info['image_key'] not in labels]
    if missing:
        raise ValueError(f'{len(missing)} images have no label, such as {missing[0]!r}')
    given = corrupt_labels(
        [labels[info['image_key']] for info in infos], corrupted_share, options.seed
    )
    names = sorted(set(given))
    if len(names) < 2:
        raise ValueError(f'all {len(infos)} images of {data_root!r} are of one class: {names}')
    classes = {
        info['gt_path']: names.index(label) for info, label in zip(infos, given, strict=True)
    }
    digest = hashlib.sha256(json.dumps(given).encode()).hexdigest()
    return pretrain_simclr(
        data_root,
        out_file,
        options,
        ann_file,
        run_type=partial(SupervisedRun, classes=classes),
        details={'labels': digest, 'corrupted_share': corrupted_share},
        **kwargs,
    )
