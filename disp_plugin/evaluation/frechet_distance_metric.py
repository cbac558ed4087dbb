"""FID, or the same distance in another space."""

from collections.abc import Callable
from typing import ClassVar

from mmagic.registry import METRICS

from .distance_metric import DistanceMetric
from .estimate import Estimate
from .frechet_distance import frechet_distance


@METRICS.register_module()
class FrechetDistanceMetric(DistanceMetric):
    """Fréchet distance between Gaussians fitted to generated and to held-out images.

    In Inception's space this is FID (Heusel et al. 2017, arXiv 1706.08500).

    Args:
        **kwargs: Of :class:`FeatureMetric`.
    """

    METRIC = 'fid'
    distance: ClassVar[Callable[..., Estimate]] = staticmethod(frechet_distance)
