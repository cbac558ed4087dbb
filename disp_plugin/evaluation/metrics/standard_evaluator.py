"""The metrics of a run in a few lines of config."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmagic.evaluation.evaluator import Evaluator
from mmagic.registry import EVALUATORS
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from torch import nn
from torch.utils.data import DataLoader

from disp_plugin.distributed import on_main_process

from ..metric_card import MetricCard
from ..reference_set import CACHE_DIR, ReferenceSet, check_disjoint
from ..spaces import RUN_ENCODER, Config
from . import feature_metrics as features
from .discriminator_gap import DiscriminatorGapMetric
from .gan_metric import FeatureMetric, GanMetric
from .ivom import IvOMMetric

__all__ = ['METRIC_TYPES', 'StandardEvaluator']

METRIC_TYPES: dict[str, type[GanMetric]] = {
    'fid': features.FrechetDistanceMetric,
    'kid': features.KernelDistanceMetric,
    'precision_recall': features.PrecisionRecallMetric,
    'copying': features.DataCopyingMetric,
    'floor': features.MemorizationFloorMetric,
    'disc_gap': DiscriminatorGapMetric,
    'ivom': IvOMMetric,
}
"""Name in a config -> type of metric."""


@EVALUATORS.register_module()
class StandardEvaluator(Evaluator):
    """mmagic's evaluator with this package's metrics, each in every space.

    ``dict(type='StandardEvaluator', metrics=None, spaces=dict(clean=dict(type='InceptionEncoder'),
    prior='encoder'))`` stands for a list of metrics that share samples, networks and real images.
    The run's training images and encoder need not be repeated: :class:`MetricCardHook` hands them
    in. mmagic's loop takes a config for an evaluator only if ``metrics`` stands in it.

    Args:
        spaces (Mapping[str, Config | str]): Name -> config of an encoder, or 'encoder' for that of
            the run's priors; the first is the one to look at first. An encoder that knows training
            images only (per-image embeddings) is left out, as is one that the run does not have.
        metrics (Sequence[str] | None): Names from :data:`METRIC_TYPES`. Defaults to None: all but
            'ivom', which takes long, and without training images those that need none.
        train_dataset (Config | None): The training set. Defaults to None: the run's own.
        encoder (Config | None): Encoder of the priors. Defaults to None: the run's own.
        fake_nums (int): Images to sample. Defaults to 1000.
        split (str): Name of the held-out split. Defaults to 'val'.
        options (Mapping[str, Config] | None): Name of a metric -> arguments of its own. Defaults
            to None.
        cache_dir (str): Folder of the features of real images. Defaults to 'data/features'.
        **kwargs: Further arguments of every metric, such as ``seed`` and ``truncation``.

    Raises:
        ValueError: A name is unknown, or there is no space.
    """

    def __init__(
        self,
        spaces: Mapping[str, Config | str],
        metrics: Sequence[str] | None = None,
        train_dataset: Config | None = None,
        encoder: Config | None = None,
        fake_nums: int = 1000,
        split: str = 'val',
        options: Mapping[str, Config] | None = None,
        cache_dir: str = CACHE_DIR,
        **kwargs: Any,
    ) -> None:
        super().__init__([])
        for what, names in (('metrics', metrics or ()), ('options of metrics', options or {})):
            unknown = [repr(name) for name in names if name not in METRIC_TYPES]
            if unknown:
                raise ValueError(
                    f'{what} {", ".join(unknown)} are unknown; known are {", ".join(METRIC_TYPES)}'
                )
        for cfg in spaces.values():
            if isinstance(cfg, str) and cfg != RUN_ENCODER:
                raise ValueError(f"a space is the config of an encoder or 'encoder', not {cfg!r}")
        if not any(spaces.values()):
            raise ValueError('StandardEvaluator needs at least one space that knows unseen images')
        self.spaces = spaces
        self.names = metrics
        self.train_dataset = train_dataset
        self.encoder = encoder
        self.options = options or {}
        self.shared = dict(split=split, cache_dir=cache_dir, **kwargs)
        self.fake_nums = fake_nums
        self.metrics: list[GanMetric]
        self.left_out: list[str] = []

    def use_run(self, encoder: Config | None, train_dataset: Config | None) -> None:
        """Take the run's own encoder and training images where none are stated, and build.

        Raises:
            FileNotFoundError: The weights of an encoder are not at hand.
            ValueError: There is no space, or IvOM has no encoder.
        """
        self.encoder = self.encoder or encoder
        self.train_dataset = self.train_dataset or train_dataset
        named = self.spaces.items()
        own = {name: self.encoder if isinstance(cfg, str) else cfg for name, cfg in named}
        spaces = {name: cfg for name, cfg in own.items() if cfg}
        if not spaces:
            raise ValueError('the run has no encoder that knows unseen images; give other spaces')
        names = self.names
        if names is None:
            has_train = self.train_dataset is not None
            useful = [n for n, kind in METRIC_TYPES.items() if has_train or not kind.NEEDS_TRAIN]
            names = [name for name in useful if name != 'ivom']
        self.metrics = []
        for name in dict.fromkeys(names):
            kind = METRIC_TYPES[name]
            fields: dict[str, Any] = {**self.shared, 'train_dataset': self.train_dataset}
            places: list[dict[str, Any]] = [{'encoder': self.encoder}]
            if issubclass(kind, FeatureMetric):
                fields['fake_nums'] = self.fake_nums
                places = [{'space': space, 'encoder': cfg} for space, cfg in spaces.items()]
            elif kind is IvOMMetric:
                fields['spaces'] = spaces
            fields.update(self.options.get(name, {}))
            self.metrics += [kind(**fields, **place) for place in places]

    def set_references(self, held_out: BaseDataset) -> None:
        """Let all metrics share the real images, and encode them.

        Raises:
            ValueError: Real images are damaged, or held-out ones are training images.
        """
        first = self.metrics[0]
        unseen = first.reference or ReferenceSet(held_out, first.split, first.cache_dir)
        train = first.train if self.train_dataset is not None else None
        for metric in self.metrics:
            metric.reference, metric.train_dataset = unseen, train
        if train is not None:
            check_disjoint(train.paths, unseen.paths, f'the split {unseen.split}')
        spaces = {m.space for m in self.metrics if isinstance(m, FeatureMetric)}
        for space in sorted(spaces, key=lambda space: space.name):
            unseen.features(space)
            if train is not None:
                train.features(space)

    def prepare_metrics(self, module: nn.Module, dataloader: DataLoader) -> None:
        """Note the GAN, and encode the real images, once.

        Raises:
            ValueError: Real images are damaged, or held-out ones are training images.
        """
        if self.is_ready:
            return
        if not self.metrics:
            self.use_run(None, None)
        on_main_process(lambda: self.set_references(dataloader.dataset))
        super().prepare_metrics(module, dataloader)

    def evaluate(self) -> dict[str, float | None]:
        """Evaluate each metric: values by name."""
        values = super().evaluate()
        self.left_out = [reason for metric in self.metrics for reason in metric.left_out]
        if not values:
            print_log('no metric could be computed', logger='current', level=logging.WARNING)
        return values

    @property
    def cards(self) -> list[MetricCard]:
        """list[MetricCard]: What the last ``evaluate`` found."""
        return [card for metric in self.metrics for card in metric.cards]
