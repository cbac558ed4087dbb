"""Images -> numbers: metrics, tests for memorization, and the report of a run."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .metric_hooks import MetricCardHook, OverfittingHook  # noqa: E402
from .metrics import (  # noqa: E402
    DataCopyingMetric,
    DiscriminatorGapMetric,
    FrechetDistanceMetric,
    IvOMMetric,
    KernelDistanceMetric,
    MemorizationFloorMetric,
    PrecisionRecallMetric,
    StandardEvaluator,
)

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
