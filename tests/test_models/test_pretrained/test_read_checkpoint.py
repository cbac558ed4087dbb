"""What a GAN starts from is found: a folder's only snapshot, a zoo model's file; or refused."""

import hashlib
from urllib.error import URLError

import numpy as np
import pytest
import torch

from disp_plugin.models.pretrained.read_checkpoint import read_checkpoint

NAME = 'biggan_ajbrock-sn_8xb32-1500kiters_imagenet1k-128x128'
FILE = 'biggan_imagenet1k_128x128_b32x8_best_is_iter_1328000_20211111_122911-28c688bc.pth'


def save(file, value=1.0):
    torch.save({'weight': torch.tensor(value)}, file)


def read(content):
    return {part: float(entries['weight']) for part, entries in content.items()}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def forbid(*args, **kwargs):
    pytest.fail('something was downloaded')


def test_a_zoo_model_in_checkpoints_is_not_downloaded(here, monkeypatch):
    monkeypatch.setattr(torch.hub, 'download_url_to_file', forbid)
    (here / 'checkpoints').mkdir()
    save(here / 'checkpoints' / FILE, 3.0)
    path, content = read_checkpoint(NAME)
    assert path == f'checkpoints/{FILE}'
    assert content['weight'] == 3


def test_another_zoo_model_is_downloaded_into_checkpoints_and_verified(here, monkeypatch):
    calls = []

    def download(url, file, hash_prefix=None):
        calls.append((url, hash_prefix))
        save(file, 4.0)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    path, content = read_checkpoint(NAME)
    assert content['weight'] == 4
    assert (here / path).parent == here / 'checkpoints'
    assert calls == [(f'https://download.openmmlab.com/mmediting/biggan/{FILE}', '28c688bc')]


def test_a_download_of_other_bytes_is_refused(here, monkeypatch):
    file = here / 'source.pth'
    save(file)
    assert not hashlib.sha256(file.read_bytes()).hexdigest().startswith('28c688bc')
    monkeypatch.setattr(
        'disp_plugin.models.pretrained.read_checkpoint.find_zoo_url',
        lambda name: file.as_uri().replace('source', 'source-28c688bc'),
    )
    file.rename(here / 'source-28c688bc.pth')
    with pytest.raises(FileNotFoundError, match='could not be downloaded .invalid hash value'):
        read_checkpoint('anything')
    assert list((here / 'checkpoints').iterdir()) == []


def test_without_a_network_the_address_and_the_place_for_the_file_are_named(here, monkeypatch):
    def fail(*args, **kwargs):
        raise URLError('no way there')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    with pytest.raises(FileNotFoundError, match=rf'/{FILE} could .*no way.*checkpoints/{FILE}'):
        read_checkpoint(NAME)


def test_the_only_snapshot_of_a_folder_is_read(tmp_path):
    files = {'G_best0': 1, 'G_ema_best0': 2, 'D_best0': 3, 'G_optim_best0': 4, 'D_optim_best0': 5}
    for name, value in {**files, 'state_dict_best0': 6}.items():
        save(tmp_path / f'{name}.pth', float(value))
    path, content = read_checkpoint(str(tmp_path))
    assert path == str(tmp_path)
    assert read(content) == dict(generator=1, generator_ema=2, discriminator=3)
    # the one without a suffix is the last that was saved
    save(tmp_path / 'G.pth', 7.0)
    assert read(read_checkpoint(str(tmp_path))[1]) == dict(generator=7)


def test_several_snapshots_need_a_choice(tmp_path):
    for number in (1000, 2000):
        for name in ('ResNetGenerator', 'SNResNetProjectionDiscriminator'):
            np.savez(tmp_path / f'{name}_{number}.npz', weight=np.float32(number))
    with pytest.raises(ValueError, match=r'several snapshots: 1000, 2000; give the files of one'):
        read_checkpoint(str(tmp_path))
    chosen = dict(
        generator=str(tmp_path / 'ResNetGenerator_1000.npz'),
        discriminator=str(tmp_path / 'SNResNetProjectionDiscriminator_2000.npz'),
    )
    path, content = read_checkpoint(chosen)
    assert read(content) == dict(generator=1000, discriminator=2000)
    assert path == ', '.join(chosen.values())


def test_what_cannot_be_read_is_refused_in_words(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'has no files of BigGAN-PyTorch \(G\.pth'):
        read_checkpoint(str(tmp_path))
    with pytest.raises(ValueError, match=r'files for G; it can have them for generator'):
        read_checkpoint({'G': 'G.pth'})
    (tmp_path / '138k.zip').write_bytes(b'PK')
    with pytest.raises(ValueError, match='is an archive; unpack it'):
        read_checkpoint(str(tmp_path / '138k.zip'))
    file = tmp_path / 'ResNetGenerator_1.npz'
    np.savez(file, weight=np.array([None, 'x'], dtype=object))
    with pytest.raises(ValueError, match='holds something else than arrays of numbers'):
        read_checkpoint(str(file))
    file.write_bytes(b'PK\x03\x04 and no more')
    with pytest.raises(ValueError, match='is no checkpoint, or is damaged'):
        read_checkpoint(str(file))
    with pytest.raises(FileNotFoundError, match='there is no such file'):
        read_checkpoint('checkpoints/nothing.pth')
