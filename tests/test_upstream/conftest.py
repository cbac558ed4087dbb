"""One fresh process for all that must be seen in one: importing mmagic is what costs time."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBES = Path(__file__).resolve().parent / 'probes.py'

TRANSFORMERS = 'class CLIPModel:\n    pass\n\n\nwas_imported_for_real = True\n'


@pytest.fixture(scope='session')
def probes():
    """The module probes.py, in this process, which is patched."""
    spec = importlib.util.spec_from_file_location('upstream_probes', PROBES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def fresh_process(probes, repo_root, tmp_path_factory):
    """What every probe meets in a process in which its patch was left out."""
    folder = tmp_path_factory.mktemp('packages')
    # must neither be imported by mmagic nor be lost to later code
    (folder / 'transformers.py').write_text(TRANSFORMERS)
    result = subprocess.run(
        [sys.executable, str(PROBES), *probes.PROBES],
        env=dict(
            os.environ,
            PYTHONPATH=os.pathsep.join([str(folder), str(repo_root)]),
            DISP_PLUGIN_FULL_MMAGIC='',
        ),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)
