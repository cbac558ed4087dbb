"""What all metrics share: the GAN, real images, cards; and features of generated images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmagic.evaluation.metrics.base_gen_metric import GenMetric
from mmagic.models.base_models import BaseGAN
from mmagic.registry import DATASETS
from mmengine.dist import all_gather, get_world_size, is_main_process
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import DataLoader

from disp_plugin.applications.sample_images import channel_order_of, choose_sample_model, to_rgb
from disp_plugin.distributed import choose_device, on_main_process, unwrap_model
from disp_plugin.techniques import FeatureDiscriminator

from ..metric_card import MetricCard, Protocol
from ..reference_set import CACHE_DIR, BrokenImagesError, ReferenceSet
from ..spaces import Config, FeatureSpace, get_space
from .seeded_batches import make_batches

__all__ = ['FeatureMetric', 'GanMetric']


class GanMetric(GenMetric):
    """A number about a GAN, with the protocol that it was measured by.

    mmagic's loop calls ``prepare`` once, ``process`` for each sampled batch and ``evaluate`` at the
    end. Rank 0 computes. A number that cannot be computed, for too few images or because the
    generator diverged, is left out with a warning that says why: a run of days is not stopped.
    Damaged real images are an error.

    Args:
        fake_nums (int): Images to sample; metrics of one evaluator may differ in it. Defaults to 0.
        split (str): Name of the held-out split, a part of the number's name. Defaults to 'val'.
        train_dataset (Config | ReferenceSet | None): The training set. Defaults to None: the run's
            own, which :class:`MetricCardHook` hands in.
        sample_model (str | None): 'ema', 'orig', or None: the EMA generator where there is one.
            Defaults to None.
        seed (int): Of the samples and of whatever else is drawn. Defaults to 0.
        truncation (float | None): As in ``tools/sample.py``. Defaults to None.
        cache_dir (str): Folder of the features of real images. Defaults to 'data/features'.
        **kwargs: Of mmengine's metrics, such as ``prefix``.

    Attributes:
        reference (ReferenceSet | None): The held-out images, on rank 0; the data set of the loader
            unless set before.
        cards (list[MetricCard]): What the last ``evaluate`` found, on every rank.
        left_out (list[str]): Why something was not found.
    """

    SAMPLER_MODE = 'SeededSamples'
    default_prefix = ''  # names say all; without it mmengine warns that there is none
    NEEDS_TRAIN = False
    MIRRORS_TRAIN = False  # whether mirrored training images count, where training mirrors them
    CHOSEN_BY = ''  # short name of the number, where the best snapshot is often chosen by it
    space: FeatureSpace | None = None
    family_of_d = ''  # of the network that the discriminator sees by, if it is a pretrained one

    def __init__(
        self,
        fake_nums: int = 0,
        split: str = 'val',
        train_dataset: Config | ReferenceSet | None = None,
        sample_model: str | None = None,
        seed: int = 0,
        truncation: float | None = None,
        cache_dir: str = CACHE_DIR,
        **kwargs: Any,
    ) -> None:
        super().__init__(fake_nums, **kwargs)
        self.sample_model = sample_model
        self.split = split
        self.seed = seed
        self.truncation = truncation
        self.cache_dir = cache_dir
        self.train_dataset = train_dataset
        self.reference: ReferenceSet | None = None
        self.cards: list[MetricCard] = []
        self.left_out: list[str] = []

    @property
    def held_out(self) -> ReferenceSet:
        """ReferenceSet: The held-out images."""
        assert self.reference is not None, 'prepare comes first'
        return self.reference

    @property
    def train(self) -> ReferenceSet:
        """ReferenceSet: The training images; built on first use.

        Raises:
            ValueError: None were given.
        """
        if self.train_dataset is None:
            raise ValueError(
                f'{type(self).__name__} compares with the training images; give it '
                'train_dataset=, the config of the training set'
            )
        if isinstance(self.train_dataset, Mapping):
            built = DATASETS.build(dict(self.train_dataset))
            self.train_dataset = ReferenceSet(built, 'train', self.cache_dir)
        return self.train_dataset

    def prepare(self, module: BaseGAN, dataloader: DataLoader) -> None:
        """Note the GAN, which of its generators is sampled, and the held-out images.

        Raises:
            ValueError: There is no EMA generator to sample.
        """
        self.gan: BaseGAN = unwrap_model(module)
        disc = unwrap_model(self.gan.discriminator)
        self.family_of_d = disc.family if isinstance(disc, FeatureDiscriminator) else ''
        self.channel_order = channel_order_of(self.gan)
        self.sample_model = choose_sample_model(self.gan, self.sample_model)
        if is_main_process() and self.reference is None:
            self.reference = ReferenceSet(dataloader.dataset, self.split, self.cache_dir)

    def get_metric_sampler(
        self, model: BaseGAN, dataloader: DataLoader, metrics: Sequence[GanMetric]
    ) -> list[dict[str, object]]:
        """Share one series of samples among metrics: as many as the one that needs most.

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
        return make_batches(model, num, batch_size, self.seed, self.sample_model, self.truncation)

    def process(self, data_batch: object, data_samples: Sequence[Mapping[str, Tensor]]) -> None:
        """Ignore the samples; a metric that needs them overrides this."""

    def evaluate(self) -> dict[str, float | None]:
        """Compute on rank 0, tell all ranks: values by name."""
        generated = self.collect()
        self.cards, values, self.left_out = on_main_process(lambda: self._compute(generated))
        prefix = f'{self.prefix}/' if self.prefix else ''
        return {f'{prefix}{name}': value for name, value in values.items()}

    def _compute(
        self, generated: Tensor | None
    ) -> tuple[list[MetricCard], dict[str, float | None], list[str]]:
        """Compute cards and values, or say why they are left out."""
        try:
            cards = self.compute_cards(generated)
        except BrokenImagesError:
            raise
        except (ValueError, ArithmeticError, RuntimeError) as error:
            reason = f'{type(self).__name__} is left out: {error}'
            print_log(reason, logger='current', level=logging.WARNING)
            # a snapshot might be chosen by the name, and None is no record
            names = [self.protocol(self.CHOSEN_BY, self.fake_nums).name] if self.CHOSEN_BY else []
            return [], dict.fromkeys(names), [reason]
        return cards, {card.name: card.value for card in cards}, []

    def collect(self) -> Tensor | None:
        """Bring together what the ranks have; called on every one."""
        return None

    def compute_cards(self, generated: Tensor | None) -> list[MetricCard]:
        """Compute the numbers; called on rank 0 with what ``collect`` gave."""
        raise NotImplementedError

    def protocol(
        self,
        metric: str,
        num_generated: int = 0,
        k: int | None = None,
        space: FeatureSpace | None = None,
        parameters: dict[str, float] | None = None,
    ) -> Protocol:
        """Describe how this metric measures; for arguments see :class:`Protocol`."""
        space = space or self.space
        return Protocol(
            metric,
            self.split,
            num_generated,
            k=k,
            space=space.describe(self.family_of_d) if space else None,
            # mirrored views of held-out images are not used
            reference=self.held_out.describe(mirrored=False),
            train=self.train.describe(self.MIRRORS_TRAIN) if self.NEEDS_TRAIN else None,
            seed=self.seed,
            sample_model=self.sample_model,
            truncation=self.truncation,
            parameters=parameters or {},
        )


class FeatureMetric(GanMetric):
    """A comparison in the space of an encoder.

    Metrics with the same ``space`` and ``encoder`` share one network and encode each batch once.

    Args:
        encoder (Config): Config of the encoder.
        space (str): Name of the space, a part of the number's name, such as 'clean'.
        fake_nums (int): N, images to sample. Defaults to 1000.
        **kwargs: Of :class:`GanMetric`.

    Raises:
        FileNotFoundError: The encoder's weights are not at hand.
        ValueError: ``fake_nums`` is below 2, or the encoder knows no unseen images.
    """

    space: FeatureSpace

    def __init__(self, encoder: Config, space: str, fake_nums: int = 1000, **kwargs: Any) -> None:
        if fake_nums < 2:
            raise ValueError(
                f'{type(self).__name__} needs at least 2 images, but fake_nums is {fake_nums}'
            )
        super().__init__(fake_nums, **kwargs)
        self.space = get_space(space, encoder)
        self._features: list[Tensor] = []

    def process(self, data_batch: object, data_samples: Sequence[Mapping[str, Tensor]]) -> None:
        """Encode a batch of samples with ``fake_img`` (3, H, W) in [0, 255]."""
        if self._wanted > 0:
            self.add_images(*_rgb_of(data_samples, self.channel_order))

    @property
    def _wanted(self) -> int:
        """int: How many more images this process should encode."""
        return self.fake_nums_per_device - sum(map(len, self._features))

    def add_images(self, images: Tensor, is_finite: Tensor | None = None) -> None:
        """Encode generated images.

        Args:
            images (Tensor): (n, H, W, 3) uint8 RGB; those beyond ``fake_nums`` are ignored.
            is_finite (Tensor | None): (n,) bool, False for an image that was not finite before it
                was rounded to 8 bits. Defaults to None: all are.
        """
        features = self.space.features(images)
        if is_finite is not None and not is_finite.all():
            features = features.masked_fill(~is_finite[:, None], float('nan'))
        self._features.append(features[: max(self._wanted, 0)])

    def collect(self) -> Tensor:
        """Bring the features of all ranks (N, F) into the order of the draws."""
        own = torch.cat([torch.zeros(0, self.space.encoder.prior_dim), *self._features])
        self._features = []
        if get_world_size() == 1:
            return own[: self.fake_nums]
        parts = torch.stack([part.cpu() for part in all_gather(own)], dim=1)
        return parts.flatten(0, 1)[: self.fake_nums]

    def compute_cards(self, generated: Tensor | None) -> list[MetricCard]:
        """Compare the features (N, F) of the generated images.

        Raises:
            ValueError: There are too few images, or features that are not finite.
        """
        assert generated is not None
        num = int((~generated.isfinite().all(dim=1)).sum())
        if num:
            raise ValueError(
                f'the features of {num} of {len(generated)} generated images are not finite'
            )
        held_out = self.held_out.features(self.space)
        return self.compare(generated.to(choose_device()), held_out.to(choose_device()))

    def compare(self, generated: Tensor, held_out: Tensor) -> list[MetricCard]:
        """Compare features (N, F) with those of the held-out images (M, F); a child does it."""
        raise NotImplementedError

    def train_features(self) -> Tensor:
        """Get the features (T, F) of the training images, mirrored or not as the metric says."""
        return self.train.features(self.space, self.MIRRORS_TRAIN).to(choose_device())


class _LastBatch:
    """The batch that was turned to RGB last; metrics that share it see one object."""

    samples: Sequence[Mapping[str, Tensor]] | None = None
    images: tuple[Tensor, Tensor]


def _rgb_of(
    data_samples: Sequence[Mapping[str, Tensor]], channel_order: str
) -> tuple[Tensor, Tensor]:
    if _LastBatch.samples is not data_samples:
        pixels = torch.stack([sample['fake_img'] for sample in data_samples])
        is_finite = pixels.isfinite().flatten(1).all(dim=1).cpu()
        rgb = torch.from_numpy(to_rgb(pixels.nan_to_num(), channel_order))
        _LastBatch.images = rgb, is_finite
        _LastBatch.samples = data_samples
    return _LastBatch.images
