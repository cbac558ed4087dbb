"""What many tests share: seeded randomness, tiny image folders, the digits, shrunk configs."""

import gc
import importlib.util
import os
import random
import sys
from pathlib import Path

# One thread: the models here are so small that a second one only costs time.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import mmengine.config.config
import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer as BaseVisualizer
from PIL import Image

from disp_plugin.upstream import apply_patches

torch.set_num_threads(1)
apply_patches()
from mmagic.visualization.visualizer import Visualizer  # noqa: E402 (needs the patches)

# Laying out a config's text takes a second for each log, checkpoint and visualizer. Only spaces
# change.
mmengine.config.config.FormatCode = lambda text, **options: (text, True)

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # for tests.numerics
    sys.path.insert(0, str(ROOT))


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same state of every global random generator."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def names_of_its_own():
    """Two runs in one second get one name, and with it one logger and one visualizer.

    The logger's stream may be closed by then, the visualizer writes into the first run's folder.
    """
    yield
    for kind in (MMLogger, MessageHub, BaseVisualizer, Visualizer):
        kind._instance_dict.clear()


@pytest.fixture(scope='session', autouse=True)
def frozen_imports():
    """Every data set of mmengine collects garbage, slowly with all modules that are imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope='session')
def repo_root():
    """The root folder of the source checkout."""
    return ROOT


@pytest.fixture(scope='session')
def rng():
    """A function seed -> numpy generator, for data that a test makes up."""
    return np.random.default_rng


@pytest.fixture(scope='session')
def make_image_folder():
    """A function that fills a folder with small random PNG images and returns the folder."""

    def make(folder, num=4, size=16, seed=0, subfolders=('',), mode='RGB'):
        folder = Path(folder)
        rng = np.random.default_rng(seed)
        for index in range(num):
            target = folder / subfolders[index % len(subfolders)] / f'image_{index:04d}.png'
            target.parent.mkdir(parents=True, exist_ok=True)
            shape = (size, size) if mode == 'L' else (size, size, 3)
            pixels = rng.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(target)
        return folder

    return make


@pytest.fixture
def image_folder(tmp_path, make_image_folder):
    """Eight random 16x16 RGB images in two subfolders."""
    return make_image_folder(tmp_path / 'images', num=8, subfolders=('a', 'b'))


@pytest.fixture(scope='session')
def digits_folder(tmp_path_factory):
    """data/digits as the demo prepares it: source/, train/ and test/ of scikit-learn's digits."""
    folder = tmp_path_factory.mktemp('data') / 'digits'
    converter = load_tool('dataset_converters/digits.py')
    converter.main(['--out', str(folder)])
    return folder


@pytest.fixture(scope='session')
def inception_weights(tmp_path_factory):
    """Random weights in the published file's layout, large enough to tell images apart."""
    folder = tmp_path_factory.mktemp('inception')
    with torch.random.fork_rng():
        torch.manual_seed(0)
        file = load_tool('benchmarks/evaluation_cost.py').write_inception(folder)
        state = torch.load(file, weights_only=True)
        for value in state.values():
            if value.dim() == 4:
                value.normal_().mul_(1.4 / value[0].numel() ** 0.5)
    torch.save(state, file)
    return file


def load_tool(path):
    """Import a script of tools/, or of benchmarks/, as a module, without running it."""
    file = ROOT / (path if path.startswith('benchmarks/') else f'tools/{path}')
    name = '_'.join(file.relative_to(ROOT).with_suffix('').parts)
    if name in sys.modules:
        return sys.modules[name]
    if str(file.parent) not in sys.path:  # as Python itself does when it runs a script
        sys.path.append(str(file.parent))
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def tool():
    """A function path below tools/, or benchmarks/..., -> the script as a module."""
    return load_tool
