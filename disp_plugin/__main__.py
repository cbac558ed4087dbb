"""``python -m disp_plugin VERB ...``: run a script of tools/ wherever the package is installed."""

import runpy
import sys
from pathlib import Path

from disp_plugin import find_shipped


def find_tools() -> dict[str, Path]:
    """List the scripts of ``tools/`` that this installation has, by verb, such as 'train'."""
    return {file.stem: file for file in sorted(find_shipped('tools').glob('*.py'))}


def main() -> None:
    """Run the script that the first argument names, with the other arguments.

    Raises:
        SystemExit: There is no such script; or the script ended so.
    """
    tools = find_tools()
    verb = sys.argv[1] if len(sys.argv) > 1 else ''
    if verb not in tools:
        known = '\n'.join(f'  python -m disp_plugin {name} ...' for name in sorted(tools))
        sys.exit(f'{verb or "nothing"!r} is not a tool of disp_plugin; there are\n{known}')
    sys.argv = [str(tools[verb]), *sys.argv[2:]]
    sys.path.insert(0, str(tools[verb].parent))
    runpy.run_path(str(tools[verb]), run_name='__main__')


if __name__ == '__main__':
    main()
