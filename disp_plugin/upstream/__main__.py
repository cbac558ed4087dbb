"""``python -m disp_plugin.upstream install|remove|status``: an environment's start-up hook."""

import argparse
import sys

from disp_plugin.upstream import PATCHES, startup_hook


def main(arguments: list[str] | None = None) -> None:
    """Install, remove or describe the hook; exit with 1 where that is not permitted."""
    parser = argparse.ArgumentParser(
        prog='python -m disp_plugin.upstream',
        description='A start-up hook that patches mmagic in every process of this environment.',
    )
    parser.add_argument('action', choices=('install', 'remove', 'status'))
    action = parser.parse_args(arguments).action
    file = startup_hook.hook_file()
    try:
        if action == 'install':
            startup_hook.install_hook()
            print(f'installed {file}\nmmagic is patched in every process of this environment;')
            print('`python -m disp_plugin.upstream remove` removes the hook')
        elif action == 'remove':
            is_removed = startup_hook.remove_hook()
            print(f'removed {file}' if is_removed else f'there is no hook at {file}')
        else:
            print(f'start-up hook: {startup_hook.hook_state()} ({file})')
            print(*(f'{patch.name}: {patch.summary}' for patch in PATCHES), sep='\n')
    except PermissionError:
        sys.exit(
            f'error: no permission to {action} {file}: run the command as the owner of that '
            'environment, or use a virtual environment of your own (python -m venv)'
        )


if __name__ == '__main__':
    main()
