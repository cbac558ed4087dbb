"""The wheel carries all that a user needs, and building it leaves nothing in the source tree."""

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def sources(folder, suffixes=('.py', '.sh')):
    files = (path for path in folder.rglob('*') if path.suffix in suffixes)
    return {str(path.relative_to(folder)) for path in files}


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_the_whole_package(wheel):
    names = {name for name in contents(wheel) if name.startswith('disp_plugin/')}
    expected = {f'disp_plugin/{name}' for name in sources(ROOT / 'disp_plugin')}
    assert expected <= names
    assert 'disp_plugin/py.typed' in names


@pytest.mark.parametrize('folder', ['configs', 'tools'])
def test_the_wheel_has_configs_and_tools_where_mim_looks(wheel, folder):
    found = contents(wheel)
    for name in sources(ROOT / folder):
        carried = found[f'disp_plugin/.mim/{folder}/{name}']
        assert carried == (ROOT / folder / name).read_bytes()
    assert not [name for name in found if '__pycache__' in name or name.startswith('tests')]


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
    required = [line for line in metadata.get_all('Requires-Dist') if 'extra ==' not in line]
    named = {line.split('>')[0].split('<')[0].strip() for line in required}
    assert {'torch', 'torchvision', 'mmengine', 'timm', 'safetensors'} <= named
    assert not {'mmcv', 'mmcv-lite', 'mmagic'} & named  # see setup.py
    extras = [line for line in metadata.get_all('Requires-Dist') if 'extra ==' in line]
    assert any(line.startswith('mmcv-lite') and 'lite' in line for line in extras)


def test_every_requirement_is_pinned_and_no_host_is_named():
    lines = (ROOT / 'requirements' / 'lock-py311.txt').read_text().splitlines()
    pins = [line for line in lines if not line.startswith('#')]
    assert all('==' in line for line in pins)
    assert {'torch==2.11.0', 'torchvision==0.26.0'} <= set(pins)
    for file in [*ROOT.glob('requirements/*.txt'), ROOT / 'setup.py', ROOT / 'Makefile']:
        text = file.read_text()
        assert 'https://' not in text and 'http://' not in text
        assert str(ROOT) not in text  # nor any other path of the machine it was written on


def test_the_sdist_builds_the_same_wheel(wheel, source_tree, build, tmp_path):
    build(source_tree, 'sdist', tmp_path)
    with tarfile.open(next(tmp_path.glob('*.tar.gz'))) as archive:
        archive.extractall(tmp_path, filter='data')
    unpacked = next(path for path in tmp_path.iterdir() if path.is_dir())
    build(unpacked, 'bdist_wheel', tmp_path)
    again, first = contents(next(tmp_path.glob('*.whl'))), contents(wheel)
    assert set(again) == set(first)
    assert {n for n in first if first[n] != again[n]} <= {n for n in first if 'dist-info' in n}


def test_nothing_is_generated_inside_the_package(wheel, source_tree):
    assert not (source_tree / 'disp_plugin' / '.mim').exists()


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
    assert 'ships no config' in done.stderr and 'disp_sngan_digits.py' in done.stderr
