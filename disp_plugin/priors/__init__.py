"""Priors: the bank of a data set's priors, how it is built, and how a pipeline looks them up."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .build_bank import BankBuild, BankInUseError, Shard, build_bank  # noqa: E402
from .check_bank import check_dataset, check_encoder  # noqa: E402
from .load_prior import LoadPrior, find_bank, find_neighbors, list_images, open_dataset  # noqa: E402
from .prior_bank import BankOrigin, BankWriteError, DamagedBankError, PriorBank  # noqa: E402

__all__ = [
    'BankBuild',
    'BankInUseError',
    'BankOrigin',
    'BankWriteError',
    'DamagedBankError',
    'LoadPrior',
    'PriorBank',
    'Shard',
    'build_bank',
    'check_dataset',
    'check_encoder',
    'find_bank',
    'find_neighbors',
    'list_images',
    'open_dataset',
]
