from disp_plugin.upstream import mend

mend()

from .decode_image import (  # noqa: E402
    IMG_EXTENSIONS,
    BadImage,
    BadImageError,
    check_images,
    decode_image,
    describe_bad_images,
)
from .image_folder_dataset import ImageFolderDataset  # noqa: E402
from .load_image import LoadTrainingImage  # noqa: E402

__all__ = [
    'IMG_EXTENSIONS',
    'BadImage',
    'BadImageError',
    'ImageFolderDataset',
    'LoadTrainingImage',
    'check_images',
    'decode_image',
    'describe_bad_images',
]
