"""From a bank of priors to new priors."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .base_sampler import PriorSampler  # noqa: E402
from .cell_sampler import CellSampler  # noqa: E402
from .empirical_prior_sampler import EmpiricalPriorSampler, VicinalMixSampler  # noqa: E402
from .gmm_prior_sampler import GMMPriorSampler  # noqa: E402
from .imle_sampler import IMLESampler  # noqa: E402
from .kmeans_prior_sampler import KMeansPriorSampler  # noqa: E402
from .per_image_sampler import PerImageSampler  # noqa: E402

__all__ = [
    'CellSampler',
    'EmpiricalPriorSampler',
    'GMMPriorSampler',
    'IMLESampler',
    'KMeansPriorSampler',
    'PerImageSampler',
    'PriorSampler',
    'VicinalMixSampler',
]
