"""A file is told by its first bytes: weights are read, all else is named with the way out."""

import gzip
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from disp_plugin.weights import pack_safetensors, read_weights

STATE = {'a.weight': torch.arange(2000.0), 'b': torch.ones(3)}


def save(file, content=STATE, **kwargs):
    torch.save(content, file, **kwargs)


def save_legacy(file, content=STATE):
    save(file, content, _use_new_zipfile_serialization=False)


def save_arrays(file, **arrays):
    with file.open('wb') as opened:
        np.savez(opened, **arrays)


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_a_flipped_bit_is_told_or_changes_nothing(tmp_path, suffix):
    file = tmp_path / f'weights.{suffix}'
    save(file) if suffix == 'pth' else file.write_bytes(pack_safetensors(STATE, {'size': '16'}))
    content, notes = file.read_bytes(), read_weights(file).notes
    assert notes.get('size') == (None if suffix == 'pth' else '16')
    for place in (*range(0, 400, 3), *range(400, len(content), 97)):
        altered = bytearray(content)
        altered[place] ^= 1
        file.write_bytes(altered)
        try:
            found = read_weights(file)
        except ValueError as error:
            assert str(file) in str(error)
            continue
        assert found.content.keys() == STATE.keys() and found.notes.get('size') == notes.get('size')
        assert all(torch.equal(found.content[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    'write',
    [
        save,
        save_legacy,
        lambda file: save_file(STATE, file, {'layout': 'mine'}),
        lambda file: save_arrays(file, **{key: v.numpy() for key, v in STATE.items()}),
    ],
)
def test_weights_are_read_whatever_the_file_is_called(tmp_path, write):
    write(tmp_path / 'weights.ckpt')
    content, notes = read_weights(tmp_path / 'weights.ckpt')
    assert content.keys() == STATE.keys()
    assert all(torch.equal(content[key], STATE[key]) for key in STATE)
    assert notes in ({}, {'layout': 'mine'})


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (['module.a.w', 'module.b'], ['a.w', 'b']),
        (['_orig_mod.module.a', 'module._orig_mod.b'], ['a', 'b']),
        (['generator.module.a', 'discriminator._orig_mod.a'], ['generator.a', 'discriminator.a']),
        # an average of weights, whose module is no wrapper
        (['generator_ema.module.a', 'n_averaged'], ['generator_ema.module.a', 'n_averaged']),
        (['module.a', 'n_averaged'], ['module.a', 'n_averaged']),
    ],
)
@pytest.mark.parametrize('is_nested', [False, True])
def test_names_lose_what_wrappers_put_before_them(tmp_path, names, expected, is_nested):
    state = dict.fromkeys(names, torch.ones(1))
    save(tmp_path / 'x.pth', {'state_dict': state} if is_nested else state)
    content = read_weights(tmp_path / 'x.pth').content
    assert list(content['state_dict'] if is_nested else content) == expected


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ('code of the file was run',))


def cut(write, num_bytes=3000):
    def write_and_cut(file):
        write(file)
        file.write_bytes(file.read_bytes()[:num_bytes])

    return write_and_cut


def flip(file):
    save(file)
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)


def write_zip(file):
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('notes.txt', 'x')


def write_script(file):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), file)


NVIDIA = pickle.dumps({'G': 'torch_utils.persistence'}, protocol=4)
BYTES = {
    b'': r'is empty \(0 bytes\)',
    bytes(500): 'begins with zeros',
    b'\n<!DOCTYPE html><title>Virus\nscan</title>': r"is a web page \('Virus scan'\).*/resolve/",
    b'<?xml version="1.0"?><Error/>': 'is a web page',
    b'version https://git-lfs.github.com/spec/v1\noid': 'is a git-lfs pointer.*git lfs pull',
    b'{"error": "gated"}': 'is JSON',
    b'{"weight_map": {}}': 'is JSON.*lists files of weights',
    'Zugriff verweigert: é'.encode() * 5000: 'is a text file, which begins with "Zugriff verw',
    gzip.compress(b'weights'): 'is compressed by gzip.*unpack',
    b'\x89HDF\r\n\x1a\n' + bytes(90): 'is an HDF5 file, as Keras and TensorFlow',
    b'\x93NUMPY\x01\x00': 'is a single NumPy array',
    NVIDIA: r"is a network pickle of NVIDIA's.*load_network_pkl.*model_converters",
    pickle.dumps({'a': 1}, protocol=2): 'holds pickled objects, but not by torch.save',
    pickle.dumps({'a': 1}, protocol=0): 'holds pickled objects, but not by torch.save',
    bytes(range(150, 250)): 'begins with the bytes 96 97 98',
    b'PK\x03\x04 and no more': 'was cut short or is damaged.* 16 bytes',
}
FILES = {
    'zip cut': (cut(save), 'was cut short or is damaged.*3,000 bytes'),
    'legacy cut': (cut(save_legacy), 'was cut short or is damaged'),
    'legacy cut early': (cut(save_legacy, 200), 'was cut short or is damaged'),
    'safetensors cut': (cut(lambda f: save_file(STATE, f)), 'is a damaged safetensors file'),
    'one bit flipped': (flip, 'is damaged: the checksum of its part .*data/0 is wrong'),
    'archive': (write_zip, 'is a zip archive of notes.txt, and no file of weights'),
    'TorchScript': (write_script, 'is a TorchScript archive, which is a program'),
    'list': (lambda f: save(f, [1]), 'holds a list, but a checkpoint is a dict of tensors'),
    'objects': (lambda f: save(f, {'a': Harmful()}), r'holds pickled objects \(.*weights_only=Fal'),
    'legacy objects': (lambda f: save_legacy(f, {'a': Harmful()}), r'holds pickled objects \('),
    'array of objects': (lambda f: save_arrays(f, a=np.array([None])), 'arrays that are no num'),
    'folder': (lambda f: f.mkdir(), 'is a folder; give the file'),
}


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        *((lambda file, content=key: file.write_bytes(content), m) for key, m in BYTES.items()),
        *FILES.values(),
    ],
    ids=[*BYTES.values(), *FILES],
)
@pytest.mark.parametrize('name', ['x.pth', 'x.safetensors'])
def test_a_file_of_another_kind_is_named(tmp_path, write, message, name):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message) as refused:
        read_weights(tmp_path / name)
    said = str(refused.value)
    assert said.startswith(str(tmp_path / name)) and '\n' not in said and '; ' in said
    assert 'pickle' not in said or 'pickle' in message


def test_a_missing_file_is_named_with_the_folder_it_was_looked_for_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf'x\.pth does not exist \(looked from {tmp_path}'):
        read_weights('x.pth')
