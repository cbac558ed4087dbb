"""``python -m disp_plugin.upstream install|remove|status``: an environment's start-up hook."""

import argparse
import sys

from disp_plugin.upstream import patches, startup_hook


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 1 if the hook could not be written or removed."""
    parser = argparse.ArgumentParser(
        prog='python -m disp_plugin.upstream',
        description='A start-up hook that patches mmagic in every process of this environment.',
    )
    parser.add_argument('action', choices=('install', 'remove', 'status'))
    action = parser.parse_args(arguments).action
    try:
        print(_act(action))
    except OSError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def _act(action: str) -> str:
    file = startup_hook.hook_file()
    if action == 'install':
        return (
            f'installed {startup_hook.install_hook()}\nmmagic is patched in every process of this '
            'environment; `python -m disp_plugin.upstream remove` removes the hook'
        )
    if action == 'remove':
        return f'removed {file}' if startup_hook.remove_hook() else f'there is no hook at {file}'
    lines = [f'start-up hook: {startup_hook.hook_state()} ({file})']
    return '\n'.join([*lines, *(f'{patch.name}: {patch.summary}' for patch in patches())])


if __name__ == '__main__':
    sys.exit(main())
