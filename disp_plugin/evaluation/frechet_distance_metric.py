"""FID, or the same distance in another space."""

from typing import Any

from mmagic.registry import METRICS
from torch import Tensor

from .feature_metric import FeatureMetric
from .frechet_distance import frechet_distance


@METRICS.register_module()
class FrechetDistanceMetric(FeatureMetric):
    """Fréchet distance between Gaussians fitted to generated and to held-out images.

    In Inception's space this is FID (Heusel et al. 2017, arXiv 1706.08500).

    Args:
        **kwargs: Of :class:`FeatureMetric`.
    """

    def compare(self, generated: Tensor) -> list[dict[str, Any]]:
        """Compare.

        Args:
            generated (Tensor): (N, F).

        Returns:
            list[dict[str, Any]]: One card.
        """
        value, spread = frechet_distance(generated, self.held_out_features())
        return [self.card('fid', value, spread, num_generated=len(generated))]

    def missing(self) -> dict[str, None]:
        """Stand in for a number that was left out.

        Returns:
            dict[str, None]: None by its name.
        """
        return {self.card('fid', 0.0, num_generated=self.fake_nums)['name']: None}
