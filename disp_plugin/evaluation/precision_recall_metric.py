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
    neighbours; density and coverage of Naeem et al. 2020 (arXiv 2002.09797).

    Args:
        precision_neighbours (Sequence[int]): k, one number for each. Defaults to (10, 3).
        recall_neighbours (Sequence[int]): Likewise. Defaults to (40, 3).
        density_neighbours (int): k of density and coverage. Defaults to 5.
        **kwargs: Of :class:`FeatureMetric`.
    """

    def __init__(
        self,
        precision_neighbours: Sequence[int] = (10, 3),
        recall_neighbours: Sequence[int] = (40, 3),
        density_neighbours: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.precision_neighbours = tuple(precision_neighbours)
        self.recall_neighbours = tuple(recall_neighbours)
        self.density_neighbours = density_neighbours

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
            _possible(self.precision_neighbours, len(reference), 'held-out'),
            _possible(self.recall_neighbours, len(generated), 'generated'),
            self.density_neighbours,
        )
        return [
            self.card(metric, *estimate, num_generated=len(generated), details={'k': k})
            for (metric, k), estimate in scores.items()
        ]


def _possible(neighbours: Sequence[int], num: int, kind: str) -> list[int]:
    possible = [k for k in neighbours if k < num]
    if len(possible) < len(neighbours):
        print_log(
            f'k of {max(neighbours)} needs {max(neighbours) + 1} {kind} images, but there are '
            f'{num}: left out',
            logger='current',
            level=logging.WARNING,
        )
    return possible
