"""How mmengine finds, reads and writes configs.

**Look-up of packages.**
Symptom: any config with a ``_base_ = ['mmagic::...']`` dies with "No module named
'pkg_resources'", or prints "pkg_resources is deprecated as an API" twice for every base.
Cause: mmengine/utils/package_utils.py:17 and :48 import and reload pkg_resources, which setuptools
has deprecated since 67.5 and 82 has removed.
Delete when: mmengine uses ``importlib.metadata``.

**Names of configs.**
Symptom: a config that inherits ``mmagic::wgan-gp/...`` dies with "please specify the package name
and relative config path"; one that inherits ``disp_plugin::...`` with "mmengine does not support
to load disp_plugin config". Each base of mmagic takes 0.4 s, in which sixty metafiles are read.
Cause: mmengine/config/utils.py:124 matches ``\\w*/`` after the colons, and :17 is a closed table
of packages.
Delete when: mmengine splits the name instead of matching it, and lets packages add themselves.

**Text of configs.**
Symptom: a run starts seconds later than it could, and each checkpoint takes a second longer.
Cause: mmengine/config/config.py:1484 formats the text by yapf for each log, each visualizer and
each checkpoint, a second for a GAN's config, and remembers nothing.
Delete when: mmengine remembers the text of an unchanged config.

Upstream: https://github.com/open-mmlab/mmengine (0.10.7); setuptools 82.0 release notes.
"""

import importlib.metadata
import importlib.util
import os
from collections.abc import Callable
from importlib.machinery import ModuleSpec

from disp_plugin.upstream.patch import Patch, host_module, rebind

LOOKUP_MODULE = 'mmengine.utils.package_utils'
NAMES_MODULE = 'mmengine.config.utils'
CONFIG_MODULE = 'mmengine.config.config'

SCOPE = 'mmagic'  # the types of our configs are in mmagic's registries
MAX_TEXTS = 8


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
        RuntimeError: It is a namespace package, which has no folder of its own.
    """
    spec = _find(package) or _find(package2module(package))
    if spec is None:
        raise importlib.metadata.PackageNotFoundError(package)
    if spec.origin is None:
        raise RuntimeError(f'{package} is a namespace package, which has no folder of its own')
    return os.path.dirname(spec.origin)


def package2module(package: str) -> str:
    """Find the top-level module that a distribution installs.

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


def _replace_lookup() -> None:
    host = host_module(LOOKUP_MODULE)
    for function in (is_installed, get_installed_path, package2module):
        rebind(getattr(host, function.__name__), function)


def split_package(cfg_path: str) -> tuple[str, str]:
    """Split ``'package::folder/config.py'`` into the distribution's name and the config's path.

    Raises:
        ValueError: The name has not this form, or mmengine does not know the package.
    """
    package, _, path = cfg_path.partition('::')
    table = host_module(NAMES_MODULE).MODULE2PACKAGE
    if not package or not path or '::' in path:
        raise ValueError(
            f'{cfg_path!r} does not name a config of a package; write it as '
            "'package::folder/config.py', for example 'mmagic::_base_/default_runtime.py'"
        )
    if package not in table:
        known = ', '.join(sorted(table))
        raise ValueError(f'{cfg_path!r}: no configs of {package!r} are known; known are {known}')
    return table[package], path


def _replace_split() -> None:
    host = host_module(NAMES_MODULE)
    host.MODULE2PACKAGE['disp_plugin'] = 'disp_plugin'
    rebind(host._get_package_and_cfg_path, split_package)


def find_config(name: str) -> str | None:
    """Find a config of mmagic by its path below ``configs/``; None if mmagic has no such config."""
    spec = importlib.util.find_spec('mmagic')
    folders = spec.submodule_search_locations if spec and name else None
    files = (os.path.join(folder, '.mim', 'configs', name) for folder in folders or ())
    return next((file for file in files if os.path.isfile(file)), None)


def _find_our_configs() -> None:
    """Let ``disp_plugin::`` mean the configs that this package ships; find mmagic's at once."""
    config = host_module(CONFIG_MODULE).Config
    find: Callable[[str, str], tuple[str, str | None]] = config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, name = cfg_path.partition('::')
        if package == 'disp_plugin' and name:
            from disp_plugin import base

            return base(name), SCOPE
        if package == 'mmagic' and (file := find_config(name)):
            return file, package
        return find(cfg_path, filename)

    config._get_cfg_path = staticmethod(get_cfg_path)


def remember_texts() -> None:
    """Let mmengine format the same text of a config only once."""
    host = host_module(CONFIG_MODULE)
    format_code: Callable[..., tuple[str, bool]] = host.FormatCode
    texts: dict[str, tuple[str, bool]] = {}

    def format_once(unformatted: str, **options: object) -> tuple[str, bool]:
        key = f'{options}\n{unformatted}'
        if key not in texts:
            while len(texts) >= MAX_TEXTS:
                texts.pop(next(iter(texts)))
            texts[key] = format_code(unformatted, **options)
        return texts[key]

    host.FormatCode = format_once


PATCHES = (
    Patch(
        name='package-lookup',
        module=LOOKUP_MODULE,
        summary="configs with an mmagic:: base die: No module named 'pkg_resources'",
        apply=_replace_lookup,
    ),
    Patch(
        name='hyphened-configs',
        module=NAMES_MODULE,
        summary='configs in folders with a hyphen (mmagic::wgan-gp/...) cannot be inherited',
        apply=_replace_split,
    ),
    Patch(
        name='disp_plugin-configs',
        module=CONFIG_MODULE,
        summary='mmengine does not know configs named disp_plugin::...',
        apply=_find_our_configs,
    ),
    Patch(
        name='config-text',
        module=CONFIG_MODULE,
        summary='each checkpoint and each log waits a second for the layout of the config',
        apply=remember_texts,
    ),
)
