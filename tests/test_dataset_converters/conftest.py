"""Miniature downloads in the real layouts, and a runner for the converters."""

import importlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def converter(monkeypatch, repo_root):
    """A function name -> module of the converters, imported as when one of them is run."""
    monkeypatch.syspath_prepend(str(repo_root / 'tools' / 'dataset_converters'))
    return importlib.import_module


@pytest.fixture
def convert(converter, tmp_path):
    """A function that runs a converter into a folder and returns that folder."""

    def run(name, *args, out='prepared'):
        folder = tmp_path / out
        converter(name).main([*map(str, args), '--out', str(folder)])
        return folder

    return run


def image_bytes(seed, size=(40, 40), suffix='.png'):
    """A random image, encoded; PNG keeps its pixels, JPEG does not."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {'.png': 'PNG', '.jpg': 'JPEG'}[suffix])
    return buffer.getvalue()


@pytest.fixture
def pack(tmp_path):
    """A function that writes files (name -> bytes) as folder, tar, tgz or zip."""

    def write(files, kind, name='download'):
        path = tmp_path / (name if kind == 'folder' else f'{name}.{kind}')
        if kind == 'folder':
            for file, content in files.items():
                (path / file).parent.mkdir(parents=True, exist_ok=True)
                (path / file).write_bytes(content)
        elif kind == 'zip':
            with zipfile.ZipFile(path, 'w') as archive:
                for file, content in files.items():
                    archive.writestr(file, content)
        else:
            with tarfile.open(path, 'w:gz' if kind == 'tgz' else 'w') as archive:
                for file, content in files.items():
                    info = tarfile.TarInfo(file)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        return path

    return write


def read_manifest(folder, split):
    return (Path(folder) / f'{split}.txt').read_text().splitlines()


def pixels_of(file):
    return np.asarray(Image.open(file))


def record_of(folder):
    return json.loads((Path(folder) / 'prepared.json').read_text())
