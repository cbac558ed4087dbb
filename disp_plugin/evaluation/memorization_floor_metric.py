"""What a generator would score that only repeats its training images."""

from typing import Any

from mmagic.registry import METRICS
from torch import Tensor

from .feature_metric import FeatureMetric
from .memorization_floor import memorization_floor


@METRICS.register_module()
class MemorisationFloorMetric(FeatureMetric):
    """FID and KID between training images, drawn with repetition, and the held-out images.

    A model is credited with novelty only where it scores below this floor (arXiv 2012.04256).

    Args:
        **kwargs: Of :class:`FeatureMetric`; ``train_dataset`` is needed. ``fake_nums`` is the
            number of training images that are drawn.
    """

    NEEDS_TRAIN = True

    def compare(self, generated: Tensor) -> list[dict[str, Any]]:
        """Compute the floor, which does not look at the generated images.

        Args:
            generated (Tensor): (N, F), of which only the number counts.

        Returns:
            list[dict[str, Any]]: Cards 'fid_floor' and 'kid_floor'.
        """
        num = len(generated)
        floor = memorization_floor(self.train_features(), self.held_out_features(), num, self.seed)
        return [
            self.card(f'{name}_floor', *estimate, num_generated=num)
            for name, estimate in floor.items()
        ]
