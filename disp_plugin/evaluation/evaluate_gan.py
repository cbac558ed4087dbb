"""Metrics of a trained GAN, or of a folder of images, outside of a run."""

from __future__ import annotations

import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_rank, get_world_size
from mmengine.model import BaseModel
from torch.utils.data import DataLoader

from disp_plugin.progress import track

from .metric_card import MetricCard
from .metrics.gan_metric import FeatureMetric
from .metrics.standard_evaluator import StandardEvaluator
from .reference_set import ReferenceSet

__all__ = ['evaluate_gan', 'evaluate_images']


@torch.no_grad()
def evaluate_gan(
    gan: BaseModel, evaluator: StandardEvaluator, held_out: BaseDataset, batch_size: int = 64
) -> list[MetricCard]:
    """Sample from a GAN and evaluate, as mmagic's loop does it, with a progress bar.

    Args:
        gan (BaseModel): The GAN, in evaluation mode.
        evaluator (StandardEvaluator): Its metrics.
        held_out (BaseDataset): The held-out images.
        batch_size (int): Samples at a time. Defaults to 64.

    Returns:
        list[MetricCard]: The cards, on every rank.
    """
    loader = DataLoader(held_out, batch_size)  # only asked for its data set and batch size
    evaluator.prepare_metrics(gan, loader)
    for metrics, batches in evaluator.prepare_samplers(gan, loader):
        title = 'sampling and encoding'
        for batch in track(batches, len(batches), title, get_rank() == 0, batch_size):
            evaluator.process(gan.test_step(batch), batch, metrics)
    evaluator.evaluate()
    return evaluator.cards


def evaluate_images(
    images: ReferenceSet,
    evaluator: StandardEvaluator,
    held_out: BaseDataset,
    batch_size: int = 64,
) -> list[MetricCard]:
    """Evaluate images that are files already, by metrics that need no GAN.

    Processes share the images; every one gets the cards.
    """
    evaluator.use_run(None, None)
    if get_rank() == 0:
        evaluator.set_references(held_out)
    num, world_size = len(images), get_world_size()
    # Every process takes as many; the last of them repeat the first, and are cut off again.
    rows = [(i * world_size + get_rank()) % num for i in range(-(-num // world_size))]
    starts = range(0, len(rows), batch_size)
    for start in track(starts, len(starts), 'encoding', get_rank() == 0, batch_size):
        pixels = torch.from_numpy(images.images(rows[start : start + batch_size]))
        for metric in evaluator.metrics:
            if isinstance(metric, FeatureMetric):
                metric.add_images(pixels)
    evaluator.evaluate()
    return evaluator.cards
