"""One fresh process for all that must be seen in one: importing mmagic is what costs time."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch

PROBES = Path(__file__).resolve().parent / 'probes.py'

TRANSFORMERS = 'class CLIPModel:\n    pass\n\n\nwas_imported_for_real = True\n'


@pytest.fixture(scope='session')
def probes():
    """The module probes.py, in this process, which is patched."""
    spec = importlib.util.spec_from_file_location('upstream_probes', PROBES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def fresh_process(probes, repo_root, tmp_path_factory):
    """What every probe meets in a process in which its patch was left out."""
    folder = tmp_path_factory.mktemp('packages')
    # must neither be imported by mmagic nor be lost to later code
    (folder / 'transformers.py').write_text(TRANSFORMERS)
    result = subprocess.run(
        [sys.executable, str(PROBES), *probes.PROBES],
        env=dict(
            os.environ,
            PYTHONPATH=os.pathsep.join([str(folder), str(repo_root)]),
            DISP_PLUGIN_FULL_MMAGIC='',
        ),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


# taps (fh, fw) or (f,), up, down, padding, flip_filter, gain; up and down are (x, y)
RESAMPLINGS = {
    'blur': ((4, 4), 1, 1, (1, 2), False, 1),
    'stylegan2 up': ((4, 4), 2, 1, (2, 1, 2, 1), False, 4.0),
    'stylegan2 down': ((4, 4), 1, 2, (1, 1), False, 1),
    'flipped': ((3, 4), 1, 1, 2, True, 0.5),
    'flipped up': ((3, 4), (2, 3), 1, (3, 1, 0, 2), True, 0.5),
    'up and down': ((3, 5), (3, 2), (2, 3), (4, 3, 2, 5), False, 1.5),
    'cropped': ((2, 3), 1, 1, (-1, 2, 1, -2), False, 1),
    'up, cropped': ((3, 3), 2, 1, (-3, 0, 1, -1), False, 1),
    'up, padded far': ((2, 2), (2, 1), 1, (5, 6, 3, 0), False, 1),
    'separable': ((5,), 1, 1, (2, 1, 0, 3), False, 2.0),
    'separable up': ((6,), (2, 3), 1, (4, 3), False, 6.0),
    'separable down': ((4,), 1, (3, 2), (-1, 2, 2, 1), True, 1),
    'negative gain': ((3,), 1, 1, 1, False, -2.0),
    'no filter': (None, (2, 1), (1, 2), (1, 0, 0, 2), False, 3.0),
}


def define_resampling(images, filter, up=1, down=1, padding=0, flip_filter=False, gain=1):
    """The definition, in float64: insert zeros, pad or crop, convolve, throw away."""
    images = images.double().numpy()
    taps = np.ones((1, 1)) if filter is None else filter.double().numpy()
    taps = np.outer(taps, taps) if taps.ndim == 1 else taps
    taps = taps[::-1, ::-1] if flip_filter else taps
    up_x, up_y = np.broadcast_to(up, 2)
    down_x, down_y = np.broadcast_to(down, 2)
    padding = np.broadcast_to(padding, 4) if np.ndim(padding) == 0 else padding
    x0, x1, y0, y1 = padding if len(padding) == 4 else np.repeat(padding, 2)
    filled = np.zeros((*images.shape[:2], images.shape[2] * up_y, images.shape[3] * up_x))
    filled[:, :, ::up_y, ::up_x] = images
    before_and_after = [(0, 0), (0, 0), (max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0))]
    filled = np.pad(filled, before_and_after)
    height, width = filled.shape[2:]
    filled = filled[:, :, max(-y0, 0) : height + min(y1, 0), max(-x0, 0) : width + min(x1, 0)]
    planes = [
        [scipy.signal.convolve2d(plane, taps * gain, mode='valid') for plane in image]
        for image in filled
    ]
    return torch.from_numpy(np.array(planes)[:, :, ::down_y, ::down_x].copy())


@pytest.fixture(params=RESAMPLINGS)
def resampling(request):
    """Images, and the other arguments of upfirdn2d by name."""
    shape, up, down, padding, flip_filter, gain = RESAMPLINGS[request.param]
    taps = None if shape is None else torch.randn(shape)
    arguments = dict(up=up, down=down, padding=padding, flip_filter=flip_filter, gain=gain)
    return torch.randn(2, 3, 7, 6), dict(arguments, filter=taps)


@pytest.fixture
def define_upfirdn():
    """The definition of upfirdn2d in float64, with its arguments."""
    return define_resampling
