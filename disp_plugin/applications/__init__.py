"""Trained model -> uses: images sampled from new priors or around an image of one's own."""

from disp_plugin.upstream import mend

mend()

from disp_plugin.applications.encode_image import encode_image  # noqa: E402
from disp_plugin.applications.load_gan import load_gan, parse_config_text  # noqa: E402
from disp_plugin.applications.refit_sampler import refit_sampler  # noqa: E402
from disp_plugin.applications.sample_images import (  # noqa: E402
    draw_inputs,
    make_grid,
    sample_images,
    write_png,
)

__all__ = [
    'draw_inputs',
    'encode_image',
    'load_gan',
    'make_grid',
    'parse_config_text',
    'refit_sampler',
    'sample_images',
    'write_png',
]
