"""KID, or the same distance in another space."""

from collections.abc import Callable
from typing import ClassVar

from mmagic.registry import METRICS

from .distance_metric import DistanceMetric
from .estimate import Estimate
from .kernel_distance import kernel_distance


@METRICS.register_module()
class KernelDistanceMetric(DistanceMetric):
    """Unbiased squared maximum mean discrepancy with a cubic kernel, over all pairs of images.

    In Inception's space this is KID (Binkowski et al. 2018, arXiv 1801.01401). Its expectation does
    not depend on the number of images, so that it is the number to look at below 2,048 of them.

    Args:
        **kwargs: Of :class:`FeatureMetric`.
    """

    METRIC = 'kid'
    distance: ClassVar[Callable[..., Estimate]] = staticmethod(kernel_distance)
