"""Distances between generated and held-out images, by one number."""

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from .estimate import Estimate
from .feature_metric import FeatureMetric


class DistanceMetric(FeatureMetric):
    """A distance of two sets of features; a child names it and says how it is computed.

    Attributes:
        METRIC (str): Short name of the number.
        distance (Callable): (N, F) and (M, F) -> Estimate.
    """

    METRIC: ClassVar[str]
    distance: ClassVar[Callable[..., Estimate]]

    def compare(self, generated: Tensor) -> list[dict[str, Any]]:
        """Compare.

        Args:
            generated (Tensor): (N, F).

        Returns:
            list[dict[str, Any]]: One card.
        """
        value, spread = type(self).distance(generated, self.held_out_features())
        return [self.card(self.METRIC, value, spread, num_generated=len(generated))]

    def missing(self) -> dict[str, None]:
        """Stand in for a number that was left out.

        Returns:
            dict[str, None]: None by its name.
        """
        return {self.card(self.METRIC, 0.0, num_generated=self.fake_nums)['name']: None}
