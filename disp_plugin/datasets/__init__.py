"""Files to images: the one decoder, and draws that can be restored in any worker."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .decode_image import IMG_EXTENSIONS, BadImageError, decode_image  # noqa: E402
from .image_folder_dataset import (  # noqa: E402
    ImageFolderDataset,
    find_images,
    fit_image,
    read_manifest,
    split_manifest,
)
from .image_views import ImageViews, check_views  # noqa: E402
from .odd_images import choose_rows, tell_odd_images  # noqa: E402
from .resumable_sampler import ResumableSampler  # noqa: E402
from .seeded_draws import (  # noqa: E402
    PositionalDataset,
    SeededDraws,
    keep_randomness,
    seed_randomness,
    takes_positions,
)

__all__ = [
    'IMG_EXTENSIONS',
    'BadImageError',
    'ImageFolderDataset',
    'ImageViews',
    'PositionalDataset',
    'ResumableSampler',
    'SeededDraws',
    'check_views',
    'choose_rows',
    'decode_image',
    'find_images',
    'fit_image',
    'keep_randomness',
    'read_manifest',
    'seed_randomness',
    'split_manifest',
    'takes_positions',
    'tell_odd_images',
]
