"""Does the generator copy its training images?"""

from typing import Any

from mmagic.registry import METRICS
from torch import Tensor

from .data_copying import data_copying
from .feature_metric import FeatureMetric


@METRICS.register_module()
class DataCopyingMetric(FeatureMetric):
    """The data-copying statistic C_T of Meehan et al. 2020 (arXiv 2004.05675).

    Negative where samples lie nearer to training images than held-out images do.

    Args:
        num_cells (int | None): Cells of the training set. Defaults to None: by its size.
        num_trials (int): Trials, each with other cells. Defaults to 5.
        **kwargs: Of :class:`FeatureMetric`; ``train_dataset`` is needed.
    """

    NEEDS_TRAIN = True

    def __init__(self, num_cells: int | None = None, num_trials: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_cells = num_cells
        self.num_trials = num_trials

    def compare(self, generated: Tensor) -> list[dict[str, Any]]:
        """Compare.

        Args:
            generated (Tensor): (N, F).

        Returns:
            list[dict[str, Any]]: One card.
        """
        found = data_copying(
            generated,
            self.train_features(),
            self.held_out_features(),
            self.num_cells,
            self.num_trials,
            self.seed,
        )
        details = {
            'trials': list(found.trials),
            'cells': found.num_cells,
            'used_cells': found.used_cells,
        }
        num = len(generated)
        return [
            self.card(
                'copying', found.value, found.standard_deviation, num_generated=num, details=details
            )
        ]
