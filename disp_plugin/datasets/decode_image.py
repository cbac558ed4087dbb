"""The one decoder: training, the bank and every tool see the same pixels of a file."""

import os
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

_NO_PHOTOS = frozenset(
    'BUFR GRIB HDF5 FITS IPTC MPEG FLI WMF EPS CUR ICO ICNS GBR'.split()  # noqa: SIM905
)
"""Formats that Pillow knows but that hold measurements, video, vectors, icons or brushes."""

DECODERS = {
    **dict.fromkeys(('.heic', '.heif', '.hif'), 'pillow-heif'),
    **dict.fromkeys(('.avif', '.avifs'), 'pillow-avif-plugin'),
    '.jxl': 'pillow-jxl-plugin',
}
"""Ending -> package that makes Pillow read such images, where it does not by itself."""


def _find_extensions() -> frozenset[str]:
    """List the endings of all images that Pillow, with the plugins installed, can decode."""
    with suppress(ImportError):
        import_module('pillow_heif').register_heif_opener()
    if '.avif' not in Image.registered_extensions():  # Pillow has it from 11.3 on
        with suppress(ImportError):
            import_module('pillow_avif')
    with suppress(ImportError):
        import_module('pillow_jxl')
    formats = Image.registered_extensions().items()
    endings = {e for e, name in formats if name in Image.OPEN and name not in _NO_PHOTOS}
    return frozenset(endings - {'.pfm'})  # floating-point numbers


#: Endings of the files that are taken for images, in lower case; compare with ``suffix.lower()``.
IMG_EXTENSIONS = _find_extensions()

_EXIF_ORIENTATION = 0x0112
_TIFF_BITS_PER_SAMPLE = 258
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImageError(ValueError):
    """An image cannot be decoded.

    Args:
        path (str): The file, as it was given.
        reason (str, optional): What is wrong with it, in words. Without it, ``path`` is the whole
            message (so that a data loader's worker can hand the error on to its parent).
            Defaults to None.
    """

    def __init__(self, path: str, reason: str | None = None) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        if self.reason is None:
            return self.path
        return f'cannot read the image {self.path}: {self.reason}'


def decode_image(file: str | os.PathLike | bytes, white_level: float | None = None) -> np.ndarray:
    """Decode an image file as a person would see it, to 8-bit RGB.

    The EXIF orientation is applied; transparency is laid on white; gray, palette and CMYK become
    RGB; 16-bit gray is scaled by its full range; of an animation the first frame is taken.

    Args:
        file (str | os.PathLike | bytes): Path of the file, or its content.
        white_level (float, optional): What is shown as white where pixels have 16 bits, or are
            numbers without a known range. Defaults to None: the full range of 16 bits.

    Returns:
        np.ndarray: (H, W, 3) uint8, RGB.

    Raises:
        BadImageError: The file is missing, empty, truncated, no image, larger than Pillow's limit
            on pixels, or of a kind that has no known range (32-bit and floating-point pixels).
    """
    name = '<bytes>' if isinstance(file, bytes) else os.fspath(file)
    content = b''
    try:
        content = file if isinstance(file, bytes) else _read(Path(file))
        if not content:
            raise BadImageError(name, 'the file is empty')
        with Image.open(BytesIO(content)) as image:
            is_wide = holds_16_bits(image)
            image.load()
            turn, shown = _find_turn(image), image
            if is_wide and white_level is not None:
                shown = _scale(image, content, white_level)
            rgb = _to_rgb(shown)
            return np.array(rgb if turn is None else rgb.transpose(turn), dtype=np.uint8)
    except BadImageError as error:
        raise BadImageError(name, error.reason) from None
    # Decoders of damaged files raise nearly everything: SyntaxError, struct.error, IndexError, ...
    except Exception as error:
        raise BadImageError(name, _explain(error, content)) from error


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise BadImageError('', 'it is no file but a pipe or a device')  # which might never end
    return path.read_bytes()


def holds_16_bits(image: Image.Image) -> bool:
    """Tell from the header whether pixels have 16 bits, or are numbers without a known range."""
    stored = [tile[3] for tile in getattr(image, 'tile', ())]
    if any(';16' in str(args) for args in stored):
        return True
    if image.format == 'PPM':  # another range than that of 16 bits is stated in the file
        return any(isinstance(args, tuple) and args[-1] == 65535 for args in stored)
    return image.mode in ('I', 'F') or image.mode.startswith('I;16')


def _scale(image: Image.Image, content: bytes, white_level: float) -> Image.Image:
    """Bring pixels to 8 bits by their white level; opacity has the full range of 16 bits."""
    if image.mode in ('I', 'F') or image.mode.startswith('I;16'):
        pixels = np.array(image)
    else:  # Pillow cuts colors of 16 bits to 8
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if bgr is None or bgr.dtype != np.uint16 or bgr.ndim != 3:
            raise BadImageError('', 'its 16-bit colors cannot be read; save it as PNG')
        pixels = bgr[..., [2, 1, 0, 3][: bgr.shape[2]]]
    if not np.isfinite(pixels).all():
        raise BadImageError('', 'it has pixels that are not finite')
    white = np.full(pixels.shape, white_level, dtype=np.float64)
    if pixels.ndim == 3:
        white[..., 3:] = 65535
    return Image.fromarray(np.rint(pixels * (255 / white)).clip(0, 255).astype(np.uint8))


def _find_turn(image: Image.Image) -> Image.Transpose | None:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        # Damaged EXIF beside sound pixels: viewers show such a picture as it is stored.
        orientation = 1
    return _UPRIGHT.get(orientation)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith('I;16') or (image.mode == 'I' and image.format in ('PNG', 'PPM')):
        return _scale_gray(image)
    if image.mode in ('I', 'F'):
        kind = 'floating-point' if image.mode == 'F' else '32-bit integer'
        raise BadImageError(
            '',
            f'its pixels are {kind} numbers, whose range is unknown; save it with 8 or 16 '
            'bits, or set white_level',
        )
    if image.has_transparency_data:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert('RGB')


def _scale_gray(image: Image.Image) -> Image.Image:
    num_bits = 16
    if image.format == 'TIFF':
        num_bits = image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (16,))[0]  # type: ignore[attr-defined]
    gray = np.array(image).astype(np.float64) * (255 / (2**num_bits - 1))
    return Image.fromarray(np.rint(gray).clip(0, 255).astype(np.uint8)).convert('RGB')


def _explain(error: Exception, content: bytes) -> str:
    if isinstance(error, FileNotFoundError):
        return 'the file does not exist'
    if isinstance(error, IsADirectoryError):
        return 'it is a folder'
    if isinstance(error, PermissionError):
        return 'this user may not read the file'
    if isinstance(error, UnidentifiedImageError):
        brand = content[8:12] if content[4:8] == b'ftyp' else b''
        ending = {b'heic': '.heic', b'heix': '.heic', b'mif1': '.heic', b'avif': '.avif'}.get(brand)
        if ending:
            return f'it is {ending[1:].upper()}, which is read after pip install {DECODERS[ending]}'
        return 'it is not an image of a known format'
    if isinstance(error, Image.DecompressionBombError):
        limit = Image.MAX_IMAGE_PIXELS or 0
        return f'it has more than {2 * limit} pixels, the limit of Pillow; scale it down'
    return f'the file is damaged or cut short ({type(error).__name__}: {error})'
