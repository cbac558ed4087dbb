"""When things happen in a run: fitting to the bank, re-estimating, restoring; no mathematics."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .ema_batch_norm_hook import EMABatchNormHook, estimate_batch_norm  # noqa: E402
from .fixed_priors import FixedPriorsSampler  # noqa: E402
from .gmm_sampler_hook import GMMSamplerHook  # noqa: E402
from .prior_sampler_hook import PriorSamplerHook  # noqa: E402
from .random_state_hook import RandomStateHook  # noqa: E402
from .resumable_early_stopping_hook import ResumableEarlyStoppingHook  # noqa: E402
from .resumable_train_loop import ResumableTrainLoop  # noqa: E402
from .revalidation_hook import RevalidationHook  # noqa: E402

__all__ = [
    'EMABatchNormHook',
    'FixedPriorsSampler',
    'GMMSamplerHook',
    'PriorSamplerHook',
    'RandomStateHook',
    'ResumableEarlyStoppingHook',
    'ResumableTrainLoop',
    'RevalidationHook',
    'estimate_batch_norm',
]
