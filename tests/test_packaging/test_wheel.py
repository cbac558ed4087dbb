"""The wheel has all that a user needs, and building it leaves nothing in the source tree."""

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.install

ROOT = Path(__file__).resolve().parent.parent.parent


def sources(folder, suffixes=('.py', '.sh')):
    files = (path for path in folder.rglob('*') if path.suffix in suffixes)
    return {str(path.relative_to(folder)) for path in files}


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_the_package_and_configs_and_tools_where_mim_looks(wheel, source_tree):
    found = contents(wheel)
    assert {f'disp_plugin/{name}' for name in sources(ROOT / 'disp_plugin')} <= set(found)
    assert 'disp_plugin/py.typed' in found
    for folder in ('configs', 'tools'):
        for name in sources(ROOT / folder):
            shipped = found[f'disp_plugin/.mim/{folder}/{name}']
            assert shipped == (ROOT / folder / name).read_bytes()
    others = ('__pycache__', 'tests/', 'benchmarks/')
    assert not [name for name in found if any(other in name for other in others)]
    assert not (source_tree / 'disp_plugin' / '.mim').exists()


def test_scripts_stay_executable(wheel):
    with zipfile.ZipFile(wheel) as archive:
        mode = archive.getinfo('disp_plugin/.mim/tools/dist_train.sh').external_attr >> 16
    assert mode & 0o111


def test_the_metadata_say_what_pip_must_know(wheel):
    found = contents(wheel)
    name = next(name for name in found if name.endswith('.dist-info/METADATA'))
    metadata = Parser().parsestr(found[name].decode())
    assert metadata['License'] == 'Apache-2.0' or metadata['License-Expression'] == 'Apache-2.0'
    assert set(metadata['Requires-Python'].split(',')) == {'>=3.10', '<3.14'}
    lines = metadata.get_all('Requires-Dist')
    named = {line.split('>')[0].split('<')[0].strip() for line in lines if 'extra ==' not in line}
    assert {'torch', 'torchvision', 'mmengine', 'timm', 'safetensors'} <= named
    assert not {'mmcv', 'mmcv-lite', 'mmagic'} & named  # see setup.py
    assert any(line.startswith('mmcv-lite') and 'lite' in line for line in lines)


def test_the_sdist_builds_the_same_wheel(wheel, source_tree, build, tmp_path):
    build(source_tree, 'sdist', tmp_path)
    with tarfile.open(next(tmp_path.glob('*.tar.gz'))) as archive:
        archive.extractall(tmp_path, filter='data')
    unpacked = next(path for path in tmp_path.iterdir() if path.is_dir())
    build(unpacked, 'bdist_wheel', tmp_path)
    again, first = contents(next(tmp_path.glob('*.whl'))), contents(wheel)
    assert set(again) == set(first)
    assert {n for n in first if first[n] != again[n]} <= {n for n in first if 'dist-info' in n}


def test_an_unknown_config_is_named_with_those_there_are(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        'import disp_plugin; print(disp_plugin.base("disp_biggan_digits.py"));'
        'disp_plugin.base("disp_biggan_digit.py")'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True
    )
    found = tmp_path / 'disp_plugin' / '.mim' / 'configs' / 'disp_biggan_digits.py'
    assert done.stdout.strip() == str(found)
    assert 'ships no config' in done.stderr and 'disp_biggan_digits.py' in done.stderr
