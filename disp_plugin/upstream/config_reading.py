"""How mmengine finds, reads and writes configs.

Upstream: https://github.com/open-mmlab/mmengine (0.10.7); setuptools 82.0 release notes.
"""

import functools
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType

from disp_plugin.upstream.patch import patch, rebind

CONFIG_MODULE = 'mmengine.config.config'

SCOPE = 'mmagic'  # the types of our configs are in mmagic's registries
MAX_TEXTS = 8


@patch('package-lookup', 'mmengine.utils.package_utils')
def look_up_packages(host: ModuleType) -> None:
    """Look up installed packages without pkg_resources.

    Symptom: whatever asks mmengine for a package dies with "No module named 'pkg_resources'", or
    prints "pkg_resources is deprecated as an API".
    Cause: package_utils.py:17 and :48 import and reload pkg_resources, which setuptools has
    deprecated since 67.5 and 82 has removed.
    Delete when: mmengine uses ``importlib.metadata``.
    """
    rebind(host.is_installed, is_installed)
    rebind(host.get_installed_path, get_installed_path)


def is_installed(package: str) -> bool:
    """Tell whether a package is installed or importable; a namespace package does not count."""
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        spec = _find(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """Find the folder of a distribution ('mmsegmentation') or of a top-level module ('mmseg').

    Raises:
        PackageNotFoundError: There is no such package.
        RuntimeError: It has no folder of its own, as a namespace package.
    """
    spec = _find(package)
    if spec is None:
        modules = importlib.metadata.distribution(package).read_text('top_level.txt') or package
        spec = _find(modules.split()[0])
    if spec is None or spec.origin is None:
        raise RuntimeError(f'{package} has no folder of its own, or does not say which')
    return os.path.dirname(spec.origin)


def _find(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


@patch('names-of-configs', CONFIG_MODULE)
def find_configs_by_name(host: ModuleType) -> None:
    """Let ``disp_plugin::`` mean the configs that this package ships; find mmagic's at once.

    Symptom: a config that inherits ``mmagic::wgan-gp/...`` dies with "please specify the package
    name and relative config path"; one that inherits ``disp_plugin::...`` with "mmengine does not
    support to load disp_plugin config". Each base of mmagic takes 0.4 s, in which sixty metafiles
    are read.
    Cause: mmengine/config/utils.py:124 matches ``\\w*/`` after the colons, and :17 is a closed
    table of packages.
    Delete when: mmengine splits the name instead of matching it, and lets packages add themselves.
    """
    find: Callable[[str, str], tuple[str, str | None]] = host.Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, name = cfg_path.partition('::')
        if package == 'disp_plugin' and name:
            from disp_plugin import base

            return base(name), SCOPE
        if package == 'mmagic' and name.endswith('.py') and is_installed(package):
            return os.path.join(get_installed_path(package), '.mim', 'configs', name), package
        return find(cfg_path, filename)

    host.Config._get_cfg_path = staticmethod(get_cfg_path)


@patch('config-text', CONFIG_MODULE)
def remember_texts(host: ModuleType) -> None:
    """Let mmengine format the same text of a config only once.

    Symptom: a run starts seconds later than it could, and each checkpoint takes a second longer.
    Cause: config.py:1484 formats the text by yapf for each log, each visualizer and each
    checkpoint, a second for a GAN's config, and remembers nothing.
    Delete when: mmengine remembers the text of an unchanged config.
    """
    format_code: Callable[..., tuple[str, bool]] = host.FormatCode

    @functools.lru_cache(MAX_TEXTS)
    def format_once(text: str, style: tuple[tuple[str, object], ...]) -> tuple[str, bool]:
        return format_code(text, style_config=dict(style))

    def format_text(text: str, style_config: dict, **_: object) -> tuple[str, bool]:
        return format_once(text, tuple(style_config.items()))

    vars(host)['FormatCode'] = format_text
