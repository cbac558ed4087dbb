"""A picture that all tests of preprocessing look at."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope='session')
def smooth_image():
    """A picture without noise, on which all antialiased resizes nearly agree."""
    y, x = np.mgrid[:90, :130] / 20
    rgb = np.stack([np.sin(x) + np.cos(y), np.sin(x + y), np.cos(x - y)], -1)
    return Image.fromarray((127.5 + 60 * rgb).clip(0, 255).astype(np.uint8))
