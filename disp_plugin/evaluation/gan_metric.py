"""What all metrics of this package share: a held-out split, the training set, cards."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmagic.evaluation.metrics.base_gen_metric import GenMetric
from mmagic.registry import DATASETS
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper

from disp_plugin.applications.sample_images import channel_order_of
from disp_plugin.distributed import on_main_process

from .metric_card import make_card
from .reference_set import CACHE_DIR, BrokenImagesError, ReferenceSet
from .seeded_batches import SeededBatches

__all__ = ['GanMetric']


class GanMetric(GenMetric):
    """A number about a GAN, with the protocol that it was measured by.

    mmagic's loop calls ``prepare`` once, ``process`` for each sampled batch and ``evaluate`` at the
    end. Rank 0 computes. A number that cannot be computed, for too few images or because the
    generator diverged, is left out with a warning that says why: a run of days is not stopped.
    Damaged real images are an error.

    Args:
        fake_nums (int): Images to sample; metrics of one evaluator may differ in it. Defaults to 0.
        split (str): Name of the held-out split, a part of the number's name. Defaults to 'val'.
        train_dataset (dict | ReferenceSet | None): Config of the training set. Defaults to None.
        sample_model (str | None): 'ema', 'orig', or None: the moving average where there is one.
            Defaults to None.
        seed (int): Of the samples and of whatever else is drawn. Defaults to 0.
        truncation (float | None): As in ``tools/sample.py``. Defaults to None.
        cache_dir (str): Folder of the features of real images. Defaults to 'data/features'.
        collect_device (str): As in mmengine. Defaults to 'cpu'.
        prefix (str | None): As in mmengine. Defaults to None.

    Attributes:
        cards (list[dict]): What the last ``evaluate`` found, on every rank.
        left_out (list[str]): Why something was not found.

    Raises:
        ValueError: A metric that needs the training set got none.
    """

    SAMPLER_MODE = 'SeededSamples'
    default_prefix = ''  # names say all; without it mmengine warns that there is none
    NEEDS_TRAIN = False

    def __init__(
        self,
        fake_nums: int = 0,
        split: str = 'val',
        train_dataset: Mapping[str, Any] | ReferenceSet | None = None,
        sample_model: str | None = None,
        seed: int = 0,
        truncation: float | None = None,
        cache_dir: str = CACHE_DIR,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(fake_nums, collect_device=collect_device, prefix=prefix)
        self.sample_model: Any = sample_model
        if self.NEEDS_TRAIN and train_dataset is None:
            raise ValueError(
                f'{type(self).__name__} compares with the training images; give it '
                'train_dataset=, the config of the training set'
            )
        self.split = split
        self.seed = seed
        self.truncation = truncation
        self.cache_dir = cache_dir
        self.gan: Any = None
        self.channel_order = 'BGR'
        self.held_out: ReferenceSet | None = None
        self.train = train_dataset if isinstance(train_dataset, ReferenceSet) else None
        self._train_cfg: Any = None if self.train else train_dataset
        self.cards: list[dict[str, Any]] = []
        self.left_out: list[str] = []

    def prepare(self, module: Any, dataloader: Any) -> None:
        """Note the GAN and the held-out images.

        Args:
            module (nn.Module): The GAN.
            dataloader (DataLoader): Gives the held-out images by its data set.
        """
        self.set_gan(module)
        if is_main_process() and self.held_out is None:
            self.set_references(dataloader.dataset)

    def set_gan(self, gan: Any) -> None:
        """Note the GAN, and settle which of its generators is sampled.

        Args:
            gan (nn.Module): The GAN, wrapped or not.

        Raises:
            ValueError: There is no moving average to sample.
        """
        self.gan = gan.module if is_model_wrapper(gan) else gan
        self.channel_order = channel_order_of(self.gan)
        has_ema = hasattr(self.gan, 'generator_ema')
        if self.sample_model is None:
            self.sample_model = 'ema' if has_ema else 'orig'
        if self.sample_model == 'ema' and not has_ema:
            raise ValueError(
                "this GAN has no moving average of its generator; sample_model must be 'orig'"
            )

    def set_references(self, held_out: Any) -> None:
        """Note the real images.

        Args:
            held_out (Dataset | ReferenceSet): The held-out split.
        """
        if self.held_out is None:
            self.held_out = (
                held_out
                if isinstance(held_out, ReferenceSet)
                else ReferenceSet(held_out, self.split, self.cache_dir)
            )
        if self.train is None and self._train_cfg is not None:
            dataset = DATASETS.build(dict(self._train_cfg))
            self.train = ReferenceSet(dataset, 'train', self.cache_dir)

    def get_metric_sampler(self, model: Any, dataloader: Any, metrics: list) -> SeededBatches:
        """Share one series of samples among metrics.

        Args:
            model (nn.Module): The GAN.
            dataloader (DataLoader): Gives the batch size.
            metrics (list[GanMetric]): All that share it.

        Returns:
            SeededBatches: As many as the one that needs most.

        Raises:
            ValueError: They differ in seed or truncation.
        """
        for name in ('seed', 'truncation'):
            values = {getattr(metric, name) for metric in metrics}
            if len(values) > 1:
                raise ValueError(
                    f'metrics of one evaluator share their samples, but theirs differ in {name}: '
                    f'{sorted(values, key=str)}; give all the same'
                )
        num = max(metric.fake_nums for metric in metrics)
        batch_size = getattr(dataloader, 'batch_size', None) or 32
        assert self.sample_model is not None
        return SeededBatches(model, num, batch_size, self.seed, self.sample_model, self.truncation)

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Take a batch of samples; metrics that need none ignore it.

        Args:
            data_batch (dict): What was sampled from.
            data_samples (Sequence[dict]): The samples.
        """

    def evaluate(self) -> dict[str, float | None]:
        """Compute on rank 0, tell all ranks.

        Returns:
            dict[str, float | None]: Values by name.
        """
        collected = self.collect()
        self.cards, values, reason = on_main_process(lambda: self._compute(collected))
        self.left_out = [reason] if reason else []
        if reason:
            print_log(reason, logger='current', level=logging.WARNING)
        prefix = f'{self.prefix}/' if self.prefix else ''
        return {f'{prefix}{name}': value for name, value in values.items()}

    def _compute(self, collected: Any) -> tuple[list[dict], dict[str, Any], str]:
        """Compute cards and values, or say why they are left out."""
        try:
            cards = self.compute_cards(collected)
        except BrokenImagesError:
            raise
        except (ValueError, ArithmeticError, RuntimeError) as error:
            return [], self.missing(), f'{type(self).__name__} is left out: {error}'
        return cards, {card['name']: card['value'] for card in cards}, ''

    def missing(self) -> dict[str, None]:
        """Stand in for numbers that were left out, by which a snapshot might be chosen.

        Returns:
            dict[str, None]: None by name, which no checkpoint is the best by.
        """
        return {}

    def collect(self) -> Any:
        """Bring together what the ranks have; called on every one.

        Returns:
            Any: For ``compute_cards``.
        """
        return None

    def compute_cards(self, collected: Any) -> list[dict[str, Any]]:
        """Compute the numbers; called on rank 0.

        Args:
            collected (Any): From ``collect``.

        Returns:
            list[dict[str, Any]]: Their cards.
        """
        raise NotImplementedError

    def card(self, metric: str, value: float, spread: float | None = None, **fields: Any) -> dict:
        """Write a number down with the protocol of this metric.

        Args:
            metric (str): Its short name.
            value (float): The number.
            spread (float | None): Its standard deviation. Defaults to None.
            **fields: What else ``make_card`` takes.

        Returns:
            dict: The card.
        """
        assert self.held_out is not None
        fields.setdefault('reference', self.held_out.describe())
        if fields['reference']:
            fields['reference']['flips'] = False  # mirrored views of held-out images are not used
        if self.NEEDS_TRAIN and self.train is not None:
            fields.setdefault('train', self.train.describe())
        return make_card(
            metric,
            value,
            spread,
            split=self.split,
            seed=self.seed,
            sample_model=self.sample_model,
            truncation=self.truncation,
            **fields,
        )
