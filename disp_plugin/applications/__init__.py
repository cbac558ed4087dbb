"""Trained model -> uses: images from new priors, around one of one's own, between two, inverted."""

from disp_plugin.upstream import apply_patches

apply_patches()

from .edit_image import cut_mix, cut_out, draw_box, sample_edited, sketch  # noqa: E402
from .encode_image import encode_image, encode_shown, show_as_training  # noqa: E402
from .interpolate_priors import interpolate_priors  # noqa: E402
from .invert_images import Inversion, invert_images  # noqa: E402
from .load_gan import load_gan, parse_config_text  # noqa: E402
from .refit_sampler import refit_sampler  # noqa: E402
from .sample_folder import SampleFolder, is_sheet, write_sheet  # noqa: E402
from .sample_images import draw_inputs, make_grid, sample_images, write_png  # noqa: E402

__all__ = [
    'Inversion',
    'SampleFolder',
    'cut_mix',
    'cut_out',
    'draw_box',
    'draw_inputs',
    'encode_image',
    'encode_shown',
    'interpolate_priors',
    'invert_images',
    'is_sheet',
    'load_gan',
    'make_grid',
    'parse_config_text',
    'refit_sampler',
    'sample_edited',
    'sample_images',
    'show_as_training',
    'sketch',
    'write_png',
    'write_sheet',
]
