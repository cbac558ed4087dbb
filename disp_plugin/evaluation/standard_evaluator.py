"""The metrics of a run in a few lines of config."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmagic.evaluation.evaluator import Evaluator
from mmagic.registry import EVALUATORS, METRICS
from mmengine.logging import print_log

from disp_plugin.distributed import on_main_process
from disp_plugin.encoders import can_encode_new_images

from .check_disjoint import check_disjoint
from .feature_metric import FeatureMetric
from .reference_set import CACHE_DIR

__all__ = ['METRIC_TYPES', 'StandardEvaluator']

METRIC_TYPES: dict[str, str] = {
    'fid': 'FrechetDistanceMetric',
    'kid': 'KernelDistanceMetric',
    'precision_recall': 'PrecisionRecallMetric',
    'copying': 'DataCopyingMetric',
    'floor': 'MemorisationFloorMetric',
    'disc_gap': 'DiscriminatorGapMetric',
    'ivom': 'IvOMMetric',
}
"""Name in a config -> type of metric."""

NEED_GAN = ('disc_gap', 'ivom')
"""They look at scores and pixels of a GAN, and are computed once rather than in every space."""


@EVALUATORS.register_module()
class StandardEvaluator(Evaluator):
    """mmagic's evaluator with this package's metrics, each in every space.

    ``dict(type='StandardEvaluator', spaces=dict(clean=dict(type='InceptionEncoder')),
    metrics=None, train_dataset=...)`` stands for a list of metrics that share samples, networks and
    real images. mmagic's loop takes a config for an evaluator only if ``metrics`` stands in it.

    Args:
        spaces (dict): Name -> config of an encoder; the first is the one to look at first. An
            encoder that knows training images only (per-image embeddings) is left out, as is None.
        metrics (Sequence[str] | None): Names from :data:`METRIC_TYPES`. Defaults to None: all but
            'ivom', which takes long, and without ``train_dataset`` those that need none.
        train_dataset (dict | None): Config of the training set. Defaults to None.
        encoder (dict | None): Config of the encoder of the priors. Defaults to None.
        fake_nums (int): Images to sample. Defaults to 1000.
        split (str): Name of the held-out split. Defaults to 'val'.
        options (dict | None): Name of a metric -> arguments of its own. Defaults to None.
        cache_dir (str): Folder of the features of real images. Defaults to 'data/features'.
        **kwargs: Further arguments of every metric, such as ``seed`` and ``truncation``.

    Raises:
        FileNotFoundError: The weights of an encoder are not at hand.
        ValueError: A name is unknown, or there is no space.
    """

    def __init__(
        self,
        spaces: Mapping[str, Mapping[str, Any]],
        metrics: Sequence[str] | None = None,
        train_dataset: Mapping[str, Any] | None = None,
        encoder: Mapping[str, Any] | None = None,
        fake_nums: int = 1000,
        split: str = 'val',
        options: Mapping[str, Mapping[str, Any]] | None = None,
        cache_dir: str = CACHE_DIR,
        **kwargs: Any,
    ) -> None:
        names = _choose_metrics(metrics, train_dataset is not None)
        _check_names(options or {}, 'options of metrics')
        spaces = {name: cfg for name, cfg in spaces.items() if can_encode_new_images(cfg)}
        if not spaces:
            raise ValueError('StandardEvaluator needs at least one space that knows unseen images')
        shared = dict(split=split, train_dataset=train_dataset, cache_dir=cache_dir, **kwargs)
        built = []
        for name in names:
            own = {**shared, **(options or {}).get(name, {}), 'type': METRIC_TYPES[name]}
            if name in NEED_GAN:
                own.update(encoder=encoder)
                if name == 'ivom':
                    own.setdefault('spaces', spaces)
                built.append(METRICS.build(own))
                continue
            own.setdefault('fake_nums', fake_nums)
            for space, cfg in spaces.items():
                built.append(METRICS.build({**own, 'space': space, 'encoder': cfg}))
        super().__init__(built)
        self.left_out: list[str] = []

    def set_references(self, held_out: Any) -> None:
        """Let all metrics share the real images.

        Args:
            held_out (Dataset | ReferenceSet): The held-out split.

        Raises:
            ValueError: Real images are damaged, or held-out ones are training images.
        """
        first, *others = self.metrics
        first.set_references(held_out)
        held_out, train = first.held_out, first.train
        for metric in others:
            metric.train = train
            metric.set_references(held_out)
        if train is not None:
            check_disjoint(train.view.paths, held_out.view.paths, f'the split {held_out.split}')
        spaces = {m.space for m in self.metrics if isinstance(m, FeatureMetric)}
        for space in sorted(spaces, key=lambda space: space.name):
            held_out.features(space)
            if train is not None:
                train.features(space)

    def prepare_metrics(self, module: Any, dataloader: Any) -> None:
        """Note the GAN, and encode the real images, once.

        Args:
            module (nn.Module): The GAN.
            dataloader (DataLoader): Gives the held-out images by its data set.

        Raises:
            ValueError: Real images are damaged, or held-out ones are training images.
        """
        if self.is_ready:
            return
        on_main_process(lambda: self.set_references(dataloader.dataset))
        super().prepare_metrics(module, dataloader)

    def evaluate(self) -> dict[str, float]:
        """Evaluate each metric.

        Returns:
            dict[str, float]: Values by name.
        """
        values = super().evaluate()
        self.left_out = [reason for metric in self.metrics for reason in metric.left_out]
        if not values:
            print_log('no metric could be computed', logger='current', level=logging.WARNING)
        return values

    @property
    def cards(self) -> list[dict[str, Any]]:
        """list[dict]: What the last ``evaluate`` found."""
        return [card for metric in self.metrics for card in metric.cards]


def _choose_metrics(names: Sequence[str] | None, has_train: bool) -> list[str]:
    if names is None:
        needs_train = ('copying', 'floor', 'disc_gap')
        return [n for n in METRIC_TYPES if n != 'ivom' and (has_train or n not in needs_train)]
    _check_names(names, 'metrics')
    return list(dict.fromkeys(names))


def _check_names(names: Iterable[str], what: str) -> None:
    unknown = [name for name in names if name not in METRIC_TYPES]
    if unknown:
        raise ValueError(
            f'{what} {", ".join(map(repr, unknown))} are unknown; known are '
            f'{", ".join(METRIC_TYPES)}'
        )
