"""Images -> numbers: metrics, tests for memorization, and the report of a run."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .data_copying_metric import DataCopyingMetric  # noqa: E402
from .discriminator_gap_metric import DiscriminatorGapMetric  # noqa: E402
from .frechet_distance_metric import FrechetDistanceMetric  # noqa: E402
from .ivom_metric import IvOMMetric  # noqa: E402
from .kernel_distance_metric import KernelDistanceMetric  # noqa: E402
from .memorization_floor_metric import MemorisationFloorMetric  # noqa: E402
from .metric_card_hook import MetricCardHook  # noqa: E402
from .overfitting_hook import OverfittingHook  # noqa: E402
from .precision_recall_metric import PrecisionRecallMetric  # noqa: E402
from .standard_evaluator import StandardEvaluator  # noqa: E402

__all__ = [
    'DataCopyingMetric',
    'DiscriminatorGapMetric',
    'FrechetDistanceMetric',
    'IvOMMetric',
    'KernelDistanceMetric',
    'MemorisationFloorMetric',
    'MetricCardHook',
    'OverfittingHook',
    'PrecisionRecallMetric',
    'StandardEvaluator',
]
