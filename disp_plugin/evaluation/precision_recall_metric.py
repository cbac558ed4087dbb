"""Improved precision and recall, density and coverage."""

import logging
from collections.abc import Sequence
from typing import Any

from mmagic.registry import METRICS
from mmengine.logging import print_log
from torch import Tensor

from .feature_metric import FeatureMetric
from .manifold_scores import manifold_scores


@METRICS.register_module()
class PrecisionRecallMetric(FeatureMetric):
    """Are samples near real images, and real images near samples?

    Precision and recall of Kynkäänniemi et al. 2019 (arXiv 1904.06991), each with its own number of
    neighbors; density and coverage of Naeem et al. 2020 (arXiv 2002.09797).

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

    def compare(self, generated: Tensor) -> list[dict[str, Any]]:
        """Compare.

        Args:
            generated (Tensor): (N, F).

        Returns:
            list[dict[str, Any]]: A card for each number and k; a k that is not below the number of
            images is left out.
        """
        reference = self.held_out_features()
        scores = manifold_scores(
            generated,
            reference,
            _possible(self.precision_neighbors, len(reference), 'held-out'),
            _possible(self.recall_neighbors, len(generated), 'generated'),
            self.density_neighbors,
        )
        return [
            self.card(metric, *estimate, num_generated=len(generated), details={'k': k})
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
