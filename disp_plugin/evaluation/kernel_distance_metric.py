"""KID, or the same distance in another space."""

from typing import Any

from mmagic.registry import METRICS
from torch import Tensor

from .feature_metric import FeatureMetric
from .kernel_distance import kernel_distance


@METRICS.register_module()
class KernelDistanceMetric(FeatureMetric):
    """Unbiased squared maximum mean discrepancy with a cubic kernel, over all pairs of images.

    In Inception's space this is KID (Binkowski et al. 2018, arXiv 1801.01401). Its expectation does
    not depend on the number of images, so that it is the number to look at below 2,048 of them.

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
        value, spread = kernel_distance(generated, self.held_out_features())
        return [self.card('kid', value, spread, num_generated=len(generated))]

    def missing(self) -> dict[str, None]:
        """Stand in for a number that was left out.

        Returns:
            dict[str, None]: None by its name.
        """
        return {self.card('kid', 0.0, num_generated=self.fake_nums)['name']: None}
