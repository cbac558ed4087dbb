"""The pipeline's first step: a file becomes ``results['gt']``, by the one decoder."""

import numpy as np
from mmagic.datasets.transforms import LoadImageFromFile
from mmagic.registry import TRANSFORMS

from .decode_image import BadImageError, decode_image


@TRANSFORMS.register_module()
class LoadTrainingImage(LoadImageFromFile):
    """mmagic's ``LoadImageFromFile``, but decoding as :func:`decode_image` does.

    Required key: ``<key>_path``. Added keys: ``<key>`` (uint8, (H, W, 3), BGR),
    ``ori_<key>_shape``, ``<key>_channel_order`` ('bgr'), ``<key>_color_type`` ('color').

    Args:
        key (str): Name of the image in the results. Defaults to 'gt'.

    Raises:
        BadImageError: When the image cannot be decoded; the message names the file.
    """

    def __init__(self, key: str = 'gt') -> None:
        super().__init__(key=key, color_type='color', channel_order='bgr')

    def _load_image(self, filename: str) -> np.ndarray:
        try:
            image = decode_image(filename)
        except BadImageError as error:
            raise BadImageError(
                filename,
                f'{error.reason}. Restore the file, or remove it and build the bank of priors '
                'again',
            ) from None
        return np.ascontiguousarray(image[..., ::-1])
