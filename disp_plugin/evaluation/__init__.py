"""Images -> numbers: metrics, tests for memorization, and the report of a run."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .metric_hooks import MetricCardHook, OverfittingHook  # noqa: E402
from .metrics.discriminator_gap import DiscriminatorGapMetric  # noqa: E402
from .metrics.feature_metrics import (  # noqa: E402
    DataCopyingMetric,
    FrechetDistanceMetric,
    KernelDistanceMetric,
    MemorizationFloorMetric,
    PrecisionRecallMetric,
)
from .metrics.ivom import IvOMMetric  # noqa: E402
from .metrics.standard_evaluator import StandardEvaluator  # noqa: E402

__all__ = [
    'DataCopyingMetric',
    'DiscriminatorGapMetric',
    'FrechetDistanceMetric',
    'IvOMMetric',
    'KernelDistanceMetric',
    'MemorizationFloorMetric',
    'MetricCardHook',
    'OverfittingHook',
    'PrecisionRecallMetric',
    'StandardEvaluator',
]
