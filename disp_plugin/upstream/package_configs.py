"""``_base_ = ['disp_plugin::...']``, and folders with a hyphen in ``mmagic::wgan-gp/...``.

Symptom: a config that inherits ``mmagic::wgan-gp/...`` dies with "please specify the package name
and relative config path"; one that inherits ``disp_plugin::...`` with "mmengine does not support
to load disp_plugin config".
Cause: mmengine/config/utils.py:124 matches ``\\w*/`` after the colons, and :17 is a closed table
of packages.
Upstream: https://github.com/open-mmlab/mmengine (0.10.7).
Delete when: mmengine splits the name instead of matching it, and lets packages add themselves.
"""

import importlib.util
import os
from collections.abc import Callable
from typing import Any

from disp_plugin.upstream.repair import Repair, host_module, rebind

# Types of our configs live in mmagic's registries, so that is the scope of what is inherited.
SCOPE = 'mmagic'


def split_package(cfg_path: str) -> tuple[str, str]:
    """Split ``'package::folder/config.py'`` into the distribution's name and the config's path.

    Args:
        cfg_path (str): Name of a config of another package.

    Returns:
        tuple[str, str]: Name by which the package is installed; path relative to its configs.

    Raises:
        ValueError: The name has not this form, or mmengine does not know the package.
    """
    package, _, path = cfg_path.partition('::')
    table = host_module('mmengine.config.utils').MODULE2PACKAGE
    if not package or not path or '::' in path:
        raise ValueError(
            f'{cfg_path!r} does not name a config of a package; write it as '
            "'package::folder/config.py', for example 'mmagic::_base_/default_runtime.py'"
        )
    if package not in table:
        known = ', '.join(sorted(table))
        raise ValueError(f'{cfg_path!r}: no configs of {package!r} are known; known are {known}')
    return table[package], path


def apply_split() -> None:
    """Replace mmengine's matching of names, and enter disp_plugin in its table."""
    host = host_module('mmengine.config.utils')
    host.MODULE2PACKAGE['disp_plugin'] = 'disp_plugin'
    rebind(host._get_package_and_cfg_path, split_package)


def shipped_config(name: str) -> str | None:
    """Find a config of mmagic without reading its sixty-odd metafiles, 0.4 s for each base.

    Args:
        name (str): Path of the config relative to mmagic's ``configs/``.

    Returns:
        str | None: Absolute path; None where mmagic ships no such file, as in a checkout of its
        sources.
    """
    spec = importlib.util.find_spec('mmagic')
    folders = spec.submodule_search_locations if spec and name else None
    files = (os.path.join(folder, '.mim', 'configs', name) for folder in folders or ())
    return next((file for file in files if os.path.isfile(file)), None)


def apply_base() -> None:
    """Let ``disp_plugin::`` mean the configs that this package ships."""
    config: Any = host_module('mmengine.config.config').Config
    find: Callable[[str, str], tuple[str, str | None]] = config._get_cfg_path

    def find_config(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, name = cfg_path.partition('::')
        if package == 'disp_plugin' and name:
            from disp_plugin import base

            return base(name), SCOPE
        if package == 'mmagic' and (file := shipped_config(name)):
            return file, package
        return find(cfg_path, filename)

    config._get_cfg_path = staticmethod(find_config)


REPAIRS = (
    Repair(
        name='hyphened-configs',
        module='mmengine.config.utils',
        summary='configs in folders with a hyphen (mmagic::wgan-gp/...) cannot be inherited',
        until='mmengine splits package::path instead of matching it',
        is_needed=lambda: True,
        apply=apply_split,
    ),
    Repair(
        name='disp_plugin-configs',
        module='mmengine.config.config',
        summary='mmengine does not know configs named disp_plugin::...',
        until='mmengine lets packages add themselves to its table',
        is_needed=lambda: True,
        apply=apply_base,
    ),
)
