"""Features -> numbers: distances, manifolds, tests for memorization, and mmagic metrics."""

from .discriminator_gap import DiscriminatorGapMetric
from .feature_metrics import (
    DataCopyingMetric,
    FrechetDistanceMetric,
    KernelDistanceMetric,
    MemorizationFloorMetric,
    PrecisionRecallMetric,
)
from .ivom import IvOMMetric
from .standard_evaluator import StandardEvaluator

__all__ = [
    'DataCopyingMetric',
    'DiscriminatorGapMetric',
    'FrechetDistanceMetric',
    'IvOMMetric',
    'KernelDistanceMetric',
    'MemorizationFloorMetric',
    'PrecisionRecallMetric',
    'StandardEvaluator',
]
