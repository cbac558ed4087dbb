"""The start-up hook: patches mmagic in every process of an environment, on request.

mmagic's own tools import mmengine and mmagic before they read a config. On NumPy 2, or without
pkg_resources, they die before a config can ask for the patches. The hook is a ``.pth`` file in the
environment's site-packages. Python executes its one line at each start; the line imports nothing,
but puts a finder into ``sys.meta_path`` that waits for the first import of mmengine, mmcv or mmagic
and then calls ``patch_config_reading()``. Without disp_plugin the line does nothing.
"""

import sysconfig
from pathlib import Path

from disp_plugin.files import write_file

FILE_NAME = 'disp_plugin_startup.pth'

# What the line in the file does; kept free of imports, for every Python process pays for it.
_SOURCE = """
class DispPluginStartup:
    is_done = False
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if cls.is_done or name not in ('mmengine', 'mmcv', 'mmagic'):
            return None
        cls.is_done = True
        try:
            from disp_plugin.upstream import patch_config_reading
        except ImportError:
            return None
        try:
            patch_config_reading()
        except Exception as error:
            print('disp_plugin could not patch mmagic:', repr(error), file=sys.stderr)
        return None
sys.meta_path.insert(0, DispPluginStartup)
"""

LINE = f"import sys; exec({_SOURCE!r}, {{'sys': sys}})\n"


def hook_file() -> Path:
    """Find where in the environment's site-packages the hook is, or would be."""
    return Path(sysconfig.get_path('purelib')) / FILE_NAME


def hook_state() -> str:
    """Tell whether the hook is 'absent', 'installed', or 'outdated' (of another version)."""
    try:
        text = hook_file().read_text(encoding='utf-8')
    except FileNotFoundError:
        return 'absent'
    return 'installed' if text == LINE else 'outdated'


def install_hook() -> None:
    """Write the hook into the current environment; a former one is replaced."""
    write_file(hook_file(), LINE)


def remove_hook() -> bool:
    """Remove the hook from the current environment; tell whether there was one."""
    if hook_state() == 'absent':
        return False
    hook_file().unlink()
    return True
