"""mmengine's look-up of installed packages, without pkg_resources.

Symptom: any config with a ``_base_ = ['mmagic::...']`` dies with "No module named
'pkg_resources'", or prints "pkg_resources is deprecated as an API" twice for every base.
Cause: mmengine/utils/package_utils.py:17 and :48 import and reload pkg_resources, which setuptools
has deprecated since 67.5 and 82 has removed.
Upstream: https://github.com/open-mmlab/mmengine (0.10.7); setuptools 82.0 release notes.
Delete when: mmengine uses ``importlib.metadata``.
"""

import importlib.metadata
import importlib.util
import os
from importlib.machinery import ModuleSpec

from disp_plugin.upstream.repair import Repair, host_module, rebind


def is_installed(package: str) -> bool:
    """Tell whether a package is installed or importable; a namespace package does not count.

    Args:
        package (str): Name of a distribution or of a top-level module.

    Returns:
        bool: Whether there is one.
    """
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        spec = _find(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """Find the folder of an installed package.

    Args:
        package (str): Name of a distribution ('mmsegmentation') or of a top-level module ('mmseg').

    Returns:
        str: The folder that holds the module's ``__init__.py``.

    Raises:
        PackageNotFoundError: There is no such package.
        RuntimeError: It is a namespace package, which has no folder of its own.
    """
    spec = _find(package)
    if spec is None:
        spec = _find(package2module(package))
    if spec is None:
        raise importlib.metadata.PackageNotFoundError(package)
    if spec.origin is None:
        raise RuntimeError(f'{package} is a namespace package, which has no folder of its own')
    return os.path.dirname(spec.origin)


def package2module(package: str) -> str:
    """Find the top-level module of a distribution.

    Args:
        package (str): Name of the distribution.

    Returns:
        str: Name of the first module it installs.

    Raises:
        PackageNotFoundError: There is no such distribution.
        ValueError: It does not say which modules it installs.
    """
    text = importlib.metadata.distribution(package).read_text('top_level.txt')
    if not text or not text.strip():
        raise ValueError(f'the distribution {package} does not say which module it installs')
    return text.split()[0]


def _find(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


def is_needed() -> bool:
    """Tell whether pkg_resources is absent or deprecated (setuptools >= 67.5)."""
    if _find('pkg_resources') is None:
        return True
    try:
        major, minor = importlib.metadata.version('setuptools').split('.')[:2]
        return (int(major), int(minor)) >= (67, 5)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False


def apply() -> None:
    """Replace mmengine's three functions, also where they were imported by name."""
    host = host_module('mmengine.utils.package_utils')
    for function in (is_installed, get_installed_path, package2module):
        rebind(getattr(host, function.__name__), function)


REPAIR = Repair(
    name='package-lookup',
    module='mmengine.utils.package_utils',
    summary="configs with an mmagic:: base die: No module named 'pkg_resources'",
    until='mmengine uses importlib.metadata',
    is_needed=is_needed,
    apply=apply,
)
