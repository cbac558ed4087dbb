"""The metrics that compare features: FID, KID, precision and recall, copying, the floor."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from mmagic.registry import METRICS
from mmengine.logging import print_log
from torch import Tensor

from ..metric_card import MetricCard
from .distances import Estimate, frechet_distance, kernel_distance
from .gan_metric import FeatureMetric
from .manifold_scores import manifold_scores
from .memorization import data_copying, memorization_floor

__all__ = [
    'DataCopyingMetric',
    'FrechetDistanceMetric',
    'KernelDistanceMetric',
    'MemorizationFloorMetric',
    'PrecisionRecallMetric',
]


class DistanceMetric(FeatureMetric):
    """A distance of generated to held-out images."""

    measure: Callable[[Tensor, Tensor], Estimate]

    def compare(self, generated: Tensor, held_out: Tensor) -> list[MetricCard]:
        """Measure the distance of features (N, F) and (M, F)."""
        estimate = self.measure(generated, held_out)
        return [MetricCard(self.protocol(self.CHOSEN_BY, len(generated)), *estimate)]


@METRICS.register_module()
class FrechetDistanceMetric(DistanceMetric):
    """Fréchet distance between Gaussians fitted to generated and to held-out images.

    In Inception's space this is FID (Heusel et al. 2017, arXiv 1706.08500).
    """

    CHOSEN_BY = 'fid'
    measure = staticmethod(frechet_distance)


@METRICS.register_module()
class KernelDistanceMetric(DistanceMetric):
    """Unbiased squared maximum mean discrepancy with a cubic kernel, over all pairs of images.

    In Inception's space this is KID (Binkowski et al. 2018, arXiv 1801.01401). Its expectation does
    not depend on the number of images: it is the number to look at below 2,048 of them.
    """

    CHOSEN_BY = 'kid'
    measure = staticmethod(kernel_distance)


@METRICS.register_module()
class PrecisionRecallMetric(FeatureMetric):
    """Are samples near real images, and real images near samples?

    Precision and recall of Kynkäänniemi et al. 2019 (arXiv 1904.06991), each with its own number of
    neighbors (10 and 40 are not stated in the DISP paper, which has one for each); density and
    coverage of Naeem et al. 2020 (arXiv 2002.09797). A k that is not below the number of images is
    left out.

    Args:
        precision_neighbors (Sequence[int]): k, one number for each. Defaults to (10, 3).
        recall_neighbors (Sequence[int]): Likewise. Defaults to (40, 3).
        density_neighbors (int): k of density and coverage. Defaults to 5.
        **kwargs: Of :class:`FeatureMetric`.
    """

    def __init__(
        self,
        precision_neighbors: Sequence[int] = (10, 3),
        recall_neighbors: Sequence[int] = (40, 3),
        density_neighbors: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.precision_neighbors = tuple(precision_neighbors)
        self.recall_neighbors = tuple(recall_neighbors)
        self.density_neighbors = density_neighbors

    def compare(self, generated: Tensor, held_out: Tensor) -> list[MetricCard]:
        """Compute a card for each number and k."""
        precise = _possible(self.precision_neighbors, len(held_out), 'held-out')
        recalled = _possible(self.recall_neighbors, len(generated), 'generated')
        scores = manifold_scores(generated, held_out, precise, recalled, self.density_neighbors)
        return [
            MetricCard(self.protocol(metric, len(generated), k), *estimate)
            for (metric, k), estimate in scores.items()
        ]


def _possible(neighbors: Sequence[int], num: int, kind: str) -> list[int]:
    possible = [k for k in neighbors if k < num]
    if len(possible) < len(neighbors):
        print_log(
            f'k of {max(neighbors)} needs {max(neighbors) + 1} {kind} images, but there are '
            f'{num}: left out',
            logger='current',
            level=logging.WARNING,
        )
    return possible


@METRICS.register_module()
class DataCopyingMetric(FeatureMetric):
    """The data-copying statistic C_T of Meehan et al. 2020 (arXiv 2004.05675).

    Negative where samples lie nearer to training images than held-out images do. Where training
    mirrors its images, mirrored ones are among them here, as neither paper says: a mirrored copy is
    a copy. The card's ``train.flips`` tells.

    Args:
        num_cells (int | None): Cells of the training set. Defaults to None: by its size.
        num_trials (int): Trials, each with other cells. Defaults to 5.
        **kwargs: Of :class:`FeatureMetric`.
    """

    NEEDS_TRAIN = True
    MIRRORS_TRAIN = True

    def __init__(self, num_cells: int | None = None, num_trials: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_cells = num_cells
        self.num_trials = num_trials

    def compare(self, generated: Tensor, held_out: Tensor) -> list[MetricCard]:
        """Compute the statistic."""
        sets = generated, self.train_features(), held_out
        found = data_copying(*sets, self.num_cells, self.num_trials, self.seed)
        protocol = self.protocol('copying', len(generated), parameters={'cells': found.num_cells})
        details: dict[str, float | list[float]] = {
            'trials': list(found.trials),
            'used_cells': found.used_cells,
        }
        return [MetricCard(protocol, found.value, found.standard_deviation, details)]


@METRICS.register_module()
class MemorizationFloorMetric(FeatureMetric):
    """FID and KID between training images, drawn with repetition, and the held-out images.

    A model is credited with novelty only where it scores below this floor (arXiv 2012.04256). Of
    the generated images only the number counts: as many training images are drawn, unmirrored even
    where training mirrors them.
    """

    NEEDS_TRAIN = True

    def compare(self, generated: Tensor, held_out: Tensor) -> list[MetricCard]:
        """Compute cards 'fid_floor' and 'kid_floor'."""
        num = len(generated)
        floor = memorization_floor(self.train_features(), held_out, num, self.seed)
        return [
            MetricCard(self.protocol(f'{name}_floor', num), *estimate)
            for name, estimate in floor.items()
        ]
