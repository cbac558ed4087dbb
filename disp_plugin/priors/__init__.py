"""Priors: the bank of a data set's priors, how it is built, and how a pipeline looks them up."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .bank_origin import BankOrigin  # noqa: E402
from .build_bank import build_bank  # noqa: E402
from .build_shard import Shard, build_shard, merge_shards  # noqa: E402
from .load_prior import LoadPrior  # noqa: E402
from .prior_bank import PriorBank  # noqa: E402
from .training_view import TrainingView, view_config  # noqa: E402

__all__ = [
    'BankOrigin',
    'LoadPrior',
    'PriorBank',
    'Shard',
    'TrainingView',
    'build_bank',
    'build_shard',
    'merge_shards',
    'view_config',
]
