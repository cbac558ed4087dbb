"""Self-Conditioned GAN: conditioned on cells of the discriminator's own features."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from mmagic.registry import HOOKS, MODELS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from threadpoolctl import threadpool_limits
from torch import Tensor

from disp_plugin.datasets import ImageFolderDataset
from disp_plugin.datasets.image_views import unwrap_dataset
from disp_plugin.distributed import on_main_process, unwrap_model
from disp_plugin.samplers import CellSampler
from disp_plugin.samplers.empirical_prior_sampler import choose_rows

BATCH_SIZE = 256

Extract = Callable[[np.ndarray, bool], np.ndarray]
"""Compute features (N, F) of rows of the training set, mirrored or not."""


@MODELS.register_module()
class SelfConditionedSampler(CellSampler):
    """Cells of training images by K-means of D_f(x), found anew as D learns.

    Liu et al. 2020 (arXiv 2006.10728) and github.com/stevliu/self-conditioned-gan, of which the
    defaults are those for CIFAR. ``SelfConditionedHook`` clusters when it is due.

    Args:
        prior_dim (int): K, cells; a GAN hands its own over.
        scale (float): Length of a cell's vector. Defaults to 1.0.
        seed (int): Seed of K-means, and of the images that it sees. Defaults to 0.
        interval (int): Steps of G from one clustering to the next. Defaults to 25000.
        num_samples (int): At most so many images are clustered; all are labeled.
            Defaults to 25000.

    Raises:
        ValueError: An option is out of range, or more cells are asked for than samples.
    """

    needs_bank: ClassVar[bool] = False
    hook: ClassVar[str] = 'SelfConditionedHook'

    centers: Tensor  # (K, F)

    def __init__(
        self,
        prior_dim: int,
        scale: float = 1.0,
        seed: int = 0,
        interval: int = 25_000,
        num_samples: int = 25_000,
    ) -> None:
        super().__init__(prior_dim, scale, seed)
        if interval < 1:
            raise ValueError(
                f'interval of SelfConditionedSampler is {interval}; it must be 1 or more'
            )
        self.check_count(num_samples)
        self.interval, self.num_samples = interval, num_samples
        self.register_buffer('centers', torch.empty(0))

    def cluster(
        self, extract: Extract, num_images: int, num_views: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the cells (N, V) of all views of all images, and the centers (K, F).

        K-means begins with k-means++, and later with the means of the new features over the old
        cells. New cells then take the names by which most images keep theirs.
        """
        from scipy.optimize import linear_sum_assignment
        from sklearn.cluster import KMeans

        def in_batches(rows: np.ndarray, flipped: bool) -> np.ndarray:
            starts = range(0, len(rows), BATCH_SIZE)
            return np.concatenate([extract(rows[s : s + BATCH_SIZE], flipped) for s in starts])

        rows = choose_rows(num_images, self.num_samples, self.seed)
        points = in_batches(rows, False)
        old = self.labels.cpu().numpy()
        is_first = old.shape != (num_images, num_views)
        start = 'k-means++' if is_first else self._start(points, old[rows, 0])
        with threadpool_limits(1):  # of several, sums would differ from run to run
            kmeans = KMeans(self.prior_dim, init=start, n_init=1, random_state=self.seed)
            kmeans.fit(points)
        everyone = np.arange(num_images)
        views = [kmeans.predict(in_batches(everyone, view > 0)) for view in range(num_views)]
        labels, centers = np.stack(views, axis=1), kmeans.cluster_centers_
        if is_first:
            return labels, centers
        kept = np.zeros((self.prior_dim, self.prior_dim))
        np.add.at(kept, (old.ravel(), labels.ravel()), 1)
        _, order = linear_sum_assignment(kept, maximize=True)
        return np.argsort(order)[labels], centers[order]

    def _start(self, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Average the points (N, F) of each cell; an empty one begins at a random point."""
        start = points[np.random.default_rng(self.seed).permutation(len(points))[: self.prior_dim]]
        for cell in np.unique(labels):
            start[cell] = points[labels == cell].mean(0)
        return start


@HOOKS.register_module()
class SelfConditionedHook(Hook):
    """Cluster for a ``SelfConditionedSampler`` before the first step and at its intervals.

    Labels hold until the next time, though D moves. Rank 0 clusters, the others receive. The
    discriminator and the global random generators stay as they were.
    """

    def before_train(self, runner: Runner) -> None:
        """Check that there are images to cluster.

        Raises:
            ValueError: There are too few, or they are of another data set than it takes.
        """
        sampler, dataset = _open(runner)
        if not isinstance(sampler, SelfConditionedSampler):
            return
        if not isinstance(dataset, ImageFolderDataset):
            raise ValueError(
                'SelfConditionedSampler needs an ImageFolderDataset to train on, but '
                f'train_dataloader.dataset is a {type(dataset).__name__}'
            )
        sampler.check_count(min(sampler.num_samples, len(dataset)))
        if len(sampler.labels) != len(dataset):
            sampler.forget()  # what other images taught

    def before_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Cluster where it is due."""
        sampler, dataset = _open(runner)
        if not isinstance(sampler, SelfConditionedSampler):
            return
        gan = unwrap_model(runner.model)
        accumulation = runner.optim_wrapper['discriminator']._accumulative_counts
        interval = sampler.interval * gan.discriminator_steps * accumulation
        if sampler.is_fitted and runner.iter % interval:
            return
        labels, centers = on_main_process(
            lambda: sampler.cluster(
                lambda rows, flipped: extract_features(gan, dataset, rows, flipped),
                len(dataset),
                dataset.num_views,
            )
        )
        old = sampler.labels.cpu().numpy()
        kept = f', {(labels == old).mean():.0%} of which keep theirs' if old.size else ''
        runner.logger.info(f'{sampler.prior_dim} cells of {labels.size} views of images{kept}')
        sampler.set_labels(labels)
        sampler.set_buffer('centers', torch.from_numpy(centers))


@torch.no_grad()
def extract_features(
    gan: Any, dataset: ImageFolderDataset, rows: np.ndarray, flipped: bool
) -> np.ndarray:
    """Compute D_f(x), (N, F), of training images, unaugmented and in evaluation mode."""
    network = unwrap_model(gan.discriminator)
    # StyleGAN2's discriminator compares images within groups of 4
    padded = np.resize(rows, -(-len(rows) // 4) * 4)
    batch = dict(inputs={}, data_samples=dataset.load(padded, flipped))
    images = gan.data_preprocessor(batch, True)['data_samples'].gt_img
    is_training = network.training
    network.eval()
    try:
        return network.extract_features(images)[: len(rows)].float().cpu().numpy()
    finally:
        network.train(is_training)


def _open(runner: Runner) -> tuple[Any, Any]:
    return unwrap_model(runner.model).sampler, unwrap_dataset(runner.train_dataloader.dataset)
