"""Images from the prior of an altered image: semantic diffusion and sketch to image.

Figure 8 of arXiv 2012.04256. Its text names CutMix, CutOut and sketches, and nothing more of them.
"""

import cv2
import numpy as np
import torch.nn.functional as F
from mmagic.models.base_models import BaseGAN
from mmengine.config import Config, ConfigDict

from .encode_image import encode_shown
from .sample_images import draw_inputs, sample_images

__all__ = ['Box', 'cut_mix', 'cut_out', 'draw_box', 'sample_edited', 'sketch']

Box = tuple[int, int, int, int]
"""X and Y of the upper left corner, width and height, in pixels."""

GRAY = 128
"""What is cut out becomes gray: about 0 in images of [-1, 1], as DiffAugment's cutout."""


def draw_box(height: int, width: int, seed: int) -> Box:
    """Draw a box by CutMix's law (Yun et al. 2019, arXiv 1905.04899).

    Its area is a uniform fraction of the image, its shape the image's, its center anywhere; what
    lies outside of the image is cut off. A box without a pixel is that of its center.
    """
    rng = np.random.default_rng(seed)
    side = np.sqrt(rng.random())
    spans = []
    for length in (width, height):
        center, half = int(rng.integers(length)), int(length * side) // 2
        spans.append((max(center - half, 0), min(center + max(half, 1), length)))
    (left, right), (top, bottom) = spans
    return left, top, right - left, bottom - top


def cut_out(img: np.ndarray, box: Box) -> np.ndarray:
    """Make a box of an image (H, W, 3) gray.

    Raises:
        ValueError: The box does not lie within the image.
    """
    edited = img.copy()
    edited[_find_pixels(img, box)] = GRAY
    return edited


def cut_mix(img: np.ndarray, other: np.ndarray, box: Box) -> np.ndarray:
    """Replace a box of an image (H, W, 3) by the same pixels of another of its size.

    Raises:
        ValueError: The box does not lie within the image, or the other has another size.
    """
    if other.shape != img.shape:
        raise ValueError(f'the images to mix are {_size(img)} and {_size(other)}; they must agree')
    edited, pixels = img.copy(), _find_pixels(img, box)
    edited[pixels] = other[pixels]
    return edited


def sketch(img: np.ndarray) -> np.ndarray:
    """Draw the dark side of edges of an image (H, W, 3), RGB, in gray on white.

    Gray values g become ``255 (g + 1) / (blurred g + 1)``, at most 255: the known pencil effect of
    photo editors ("color dodge"). The blur is a Gaussian of a 32nd of the image, at least 1 pixel.
    """
    gray = cv2.cvtColor(img, cv2.COLOR_RGB2GRAY).astype(np.float32)
    blurred = cv2.GaussianBlur(gray, (0, 0), max(1.0, max(gray.shape) / 32))
    drawn = np.clip(255 * (gray + 1) / (blurred + 1), 0, 255).round().astype(np.uint8)
    return np.stack([drawn] * 3, axis=2)


def sample_edited(
    gan: BaseGAN,
    cfg: Config | ConfigDict,
    image: np.ndarray,
    edited: np.ndarray,
    num: int = 14,
    seed: int = 0,
    batch_size: int = 32,
    sample_model: str | None = None,
) -> tuple[np.ndarray, dict[str, float]]:
    """Generate images from the prior of an edited image and many noises.

    Args:
        gan (BaseGAN): A GAN with priors, as :func:`load_gan` gives it.
        cfg (Config | ConfigDict): The run's config.
        image (np.ndarray): (H, W, 3) uint8 RGB, of :func:`show_as_training`.
        edited (np.ndarray): The same image, edited. An unedited one gives its variations.
        num (int): N, images. Defaults to 14.
        seed (int): Of the noise. Defaults to 0.
        batch_size (int): Images at a time. Defaults to 32.
        sample_model (str | None): As for :func:`sample_images`. Defaults to None.

    Returns:
        tuple[np.ndarray, dict[str, float]]: (N, H, W, 3) uint8 RGB; and mean cosines of raw priors:
        'samples_to_edited', 'samples_to_image' and, of one pair, 'edited_to_image'.

    Raises:
        ValueError: The run has no encoder that gives priors of new images.
    """
    device = next(gan.parameters()).device
    priors = encode_shown(cfg, [image, edited], device)
    noise, shared = draw_inputs(gan, num, seed, priors[1:])
    batches = sample_images(gan, noise, shared, batch_size, sample_model=sample_model)
    made = np.concatenate(list(batches))
    of_image, of_edited = priors.double().split(1)
    of_made = encode_shown(cfg, made, device).double()
    pairs = {
        'samples_to_edited': (of_made, of_edited),
        'samples_to_image': (of_made, of_image),
        'edited_to_image': (of_edited, of_image),
    }
    return made, {name: F.cosine_similarity(*pair).mean().item() for name, pair in pairs.items()}


def _find_pixels(img: np.ndarray, box: Box) -> tuple[slice, slice]:
    left, top, width, height = box
    rows, columns = slice(top, top + height), slice(left, left + width)
    is_within = rows.stop <= len(img) and columns.stop <= img.shape[1]
    if min(left, top) < 0 or min(width, height) < 1 or not is_within:
        raise ValueError(
            f'the box X Y W H = {" ".join(map(str, box))} must hold a pixel and lie within the '
            f'image of {_size(img)}'
        )
    return rows, columns


def _size(img: np.ndarray) -> str:
    return f'{img.shape[1]} x {img.shape[0]} px'
