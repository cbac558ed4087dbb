"""When things happen in a run: fit to the bank, re-estimate, save, restore; no mathematics."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .ema_batch_norm_hook import EMABatchNormHook, estimate_batch_norm  # noqa: E402
from .finite_hook import FiniteHook  # noqa: E402
from .fixed_priors import FixedPriorsSampler  # noqa: E402
from .prior_sampler_hook import GMMSamplerHook, PriorSamplerHook  # noqa: E402
from .random_state_hook import RandomStateHook  # noqa: E402
from .resumable_train_loop import ResumableTrainLoop  # noqa: E402
from .validation_hooks import (  # noqa: E402
    ResumableEarlyStoppingHook,
    RevalidationHook,
    training_iteration,
)

__all__ = [
    'EMABatchNormHook',
    'FiniteHook',
    'FixedPriorsSampler',
    'GMMSamplerHook',
    'PriorSamplerHook',
    'RandomStateHook',
    'ResumableEarlyStoppingHook',
    'ResumableTrainLoop',
    'RevalidationHook',
    'estimate_batch_norm',
    'training_iteration',
]
