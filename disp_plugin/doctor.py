"""``python -m disp_plugin.doctor``: what is installed, what is mended, and what clashes.

Prints versions, the state of every repair of ``upstream/``, CUDA and compiled operators, cached
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from disp_plugin.upstream import (
    MMAGIC_CURE,
    MMCV_CURE,
    apply_patches,
    mmcv_ext,
    repairs,
    startup_hook,
)

PACKAGES = (
    'disp_plugin',
    'torch',
    'torchvision',
    'numpy',
    'scipy',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmagic',
    'timm',
    'scikit-learn',
    'safetensors',
    'pillow',
    'opencv-python',
    'opencv-python-headless',
    'pytorch-metric-learning',
    'setuptools',
)
"""Distributions whose versions are printed."""

OPTIONAL = ('mmcv', 'mmcv-lite', 'opencv-python', 'opencv-python-headless', 'setuptools')
"""Those that need not be there: one of two, or of no use to a run."""


@dataclass(frozen=True)
class Clash:
    """Something that keeps this installation from working.

    Args:
        problem (str): What is wrong.
        cure (str): The command, or the step, that mends it.
    """

    problem: str
    cure: str


def get_version(package: str) -> str | None:
    """Read the version of an installed distribution, without importing it.

    Args:
        package (str): Name of the distribution.

    Returns:
        str, optional: Its version; None if it is not installed or its metadata is broken.
    """
    try:
        return importlib.metadata.version(package)
    except Exception:  # broken metadata raises all kinds
        return None


def get_import_error(module: str) -> str | None:
    """Import a module, and say what went wrong.

    Args:
        module (str): Name of the module.

    Returns:
        str, optional: Type and text of the error; None if there was none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            importlib.import_module(module)
    except (Exception, SystemExit) as error:
        return f'{type(error).__name__}: {error}'
    return None


def find_clashes() -> list[Clash]:
    """Look for everything that is known to go wrong with an installation.

    Returns:
        list[Clash]: Empty if all is well.
    """
    checks: tuple[Callable[[], list[Clash]], ...] = (
        _check_mmcv,
        _check_mmagic,
        _check_mmengine,
        _check_torchvision,
        _check_numpy,
        _check_opencv,
        _check_requirements,
    )
    clashes = [clash for check in checks for clash in check()]
    return clashes or _check_mending()


def _check_mmcv() -> list[Clash]:
    full, lite = get_version('mmcv'), get_version('mmcv-lite')
    if full and lite:
        return [
            Clash(
                f'mmcv {full} and mmcv-lite {lite} are both installed; both own the folder mmcv/, '
                'so that one has overwritten files of the other',
                'pip uninstall -y mmcv mmcv-lite, then install one of them: '
                f'pip install "mmcv>=2.0,<2.2" (compiled operators) or {MMCV_CURE}',
            )
        ]
    version = full or lite
    if version is None:
        return [Clash('mmcv is not installed', MMCV_CURE)]
    if not (2, 0) <= _parse(version) < (2, 2):
        name = 'mmcv' if full else 'mmcv-lite'
        return [
            Clash(
                f'{name} {version} is outside of what mmagic 1.2 accepts (>=2.0,<2.2)',
                f'pip install "{name}>=2.0,<2.2"',
            )
        ]
    return []


def _check_mmagic() -> list[Clash]:
    version = get_version('mmagic')
    if version is None:
        return [Clash('mmagic is not installed', MMAGIC_CURE)]
    if not (1, 2) <= _parse(version) < (1, 3):
        return [Clash(f'mmagic {version} is not the version this plugin is for', MMAGIC_CURE)]
    return []


def _check_mmengine() -> list[Clash]:
    version = get_version('mmengine')
    cure = 'pip install "mmengine>=0.10.5,<0.11"'
    if version is None:
        return [Clash('mmengine is not installed', cure)]
    if not (0, 10) <= _parse(version) < (0, 11):
        return [Clash(f'mmengine {version} is not a version the repairs are written for', cure)]
    return []


def _check_torchvision() -> list[Clash]:
    error = get_import_error('torch')
    if error:
        return [Clash(f'torch does not import ({error})', 'pip install --force-reinstall torch')]
    torch, torchvision = get_version('torch'), get_version('torchvision')
    cure = (
        'install both from one index in one command: '
        'pip install --force-reinstall torch torchvision'
    )
    pinned = _read_torch_pin()
    if torch and pinned and _parse(torch, 3) != _parse(pinned, 3):
        problem = (
            f'torchvision {torchvision} is built for torch {pinned}, but torch {torch} is here'
        )
        return [Clash(problem, cure)]
    error = get_import_error('torchvision')
    if error:
        problem = f'torchvision {torchvision} does not work with torch {torch} ({error})'
        return [Clash(problem, f'the two are of different builds; {cure}')]
    return []


def _read_torch_pin() -> str | None:
    try:
        requirements = importlib.metadata.requires('torchvision') or []
    except Exception:
        return None
    for requirement in requirements:
        match = re.match(r'torch\s*\(?==\s*([\w.]+)', requirement)
        if match:
            return match.group(1)
    return None


def _check_numpy() -> list[Clash]:
    numpy, torch = get_version('numpy'), get_version('torch')
    cure = 'pip install --upgrade torch torchvision, or pip install "numpy<2"'
    error = get_import_error('numpy')
    if error:
        return [
            Clash(f'numpy {numpy} does not import ({error})', 'pip install --force-reinstall numpy')
        ]
    if get_import_error('torch'):
        return []
    try:
        importlib.import_module('torch').zeros(1).numpy()
    except Exception as failure:
        return [Clash(f'torch {torch} does not work with numpy {numpy} ({failure})', cure)]
    return []


def _check_opencv() -> list[Clash]:
    error = get_import_error('cv2')
    if error is None:
        return []
    return [
        Clash(
            f'OpenCV does not import ({error})',
            'pip install opencv-python-headless (it needs no libraries of a desktop); if another '
            'OpenCV is installed, uninstall that first',
        )
    ]


def _check_requirements() -> list[Clash]:
    """Whatever else has been deleted or broken."""
    modules = ('scipy', 'PIL', 'timm', 'sklearn', 'safetensors', 'rich')
    names = {'PIL': 'pillow', 'sklearn': 'scikit-learn'}
    return [
        Clash(f'{module} does not import ({error})', f'pip install {names.get(module, module)}')
        for module in modules
        if (error := get_import_error(module))
    ]


def _check_mending() -> list[Clash]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            apply_patches()
    except (Exception, SystemExit) as error:
        return [
            Clash(
                f'mmagic does not import ({type(error).__name__}: {error})',
                'python -c "import disp_plugin.register" shows where; '
                'please report it with this output',
            )
        ]
    return []


def _parse(version: str, length: int = 2) -> tuple[int, ...]:
    """Read the first numbers of a version; what is not a number counts as 0."""
    numbers = [int(part) if part.isdigit() else 0 for part in re.split(r'[.+]', version)]
    return tuple((numbers + [0] * length)[:length])


def find_cached_weights() -> list[Path]:
    """List the weights that encoders can use without a download.

    Returns:
        list[Path]: Files in torch's hub folder, then models of timm in the cache of Hugging Face.
    """
    cache = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
    home = Path(os.environ.get('TORCH_HOME') or cache / 'torch').expanduser()
    hugging_face = Path(os.environ.get('HF_HOME') or cache / 'huggingface').expanduser()
    models = Path(os.environ.get('HF_HUB_CACHE') or hugging_face / 'hub').expanduser()
    found = sorted((home / 'hub' / 'checkpoints').glob('*.pth'))
    return found + sorted(models.glob('models--timm--*'))


def _describe_versions() -> list[str]:
    lines = [f'Python {platform.python_version()} on {platform.platform()}']
    for package in PACKAGES:
        version = get_version(package)
        if version or package not in OPTIONAL:
            lines.append(f'{package} {version or "not installed"}')
    return lines


def _describe_repairs() -> list[str]:
    return [f'{repair.name}: {repair.state} ({repair.summary})' for repair in repairs()]


def _describe_machine() -> list[str]:
    is_compiled = mmcv_ext.is_compiled()
    operators = 'compiled' if is_compiled else "the StyleGANs' in plain PyTorch (mmcv-lite)"
    lines = [f'operators of mmcv: {operators}']
    if get_import_error('torch'):
        return [*lines, 'CUDA: unknown, for torch does not import']
    torch = importlib.import_module('torch')
    try:
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except Exception as error:
        return [*lines, f'CUDA: broken ({error})']
    return [*lines, f'CUDA {torch.version.cuda}: {", ".join(names) or "no device"}']


def _describe_weights() -> list[str]:
    return [str(path) for path in find_cached_weights()] or ['none']


def _describe_hook() -> list[str]:
    state = startup_hook.hook_state()
    lines = [f'{state} ({startup_hook.hook_file()})']
    if state == 'outdated':
        lines.append('renew it: python -m disp_plugin.upstream install')
    return lines


def _describe_clashes(clashes: list[Clash]) -> list[str]:
    lines = [f'{clash.problem}\n    cure: {clash.cure}' for clash in clashes]
    return lines or ['none']


def main() -> int:
    """Print the report.

    Returns:
        int: 1 if there is a clash, else 0.
    """
    clashes = find_clashes()  # first, for it mends, and the repairs then tell their state
    sections: dict[str, Callable[[], list[str]]] = {
        'Versions': _describe_versions,
        'Repairs': _describe_repairs,
        'Machine': _describe_machine,
        'Cached encoder weights': _describe_weights,
        'Start-up hook': _describe_hook,
        'Clashes': lambda: _describe_clashes(clashes),
    }
    for title, describe in sections.items():
        try:
            lines = describe()
        except Exception as error:  # a report with a hole is better than none
            lines = [f'unknown ({type(error).__name__}: {error})']
        print('\n'.join([title, *(f'  {line}' for line in lines)]))
    return 1 if clashes else 0


if __name__ == '__main__':
    sys.exit(main())
