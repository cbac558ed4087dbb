"""What a GAN starts from is found and read safely, or refused in words."""

import hashlib
from urllib.error import URLError

import pytest
import torch

from disp_plugin.models import checkpoint_file
from disp_plugin.models.checkpoint_file import find_zoo_url, read_checkpoint

NAME = 'biggan_ajbrock-sn_8xb32-1500kiters_imagenet1k-128x128'
FILE = 'biggan_imagenet1k_128x128_b32x8_best_is_iter_1328000_20211111_122911-28c688bc.pth'
PUBLISHED = {
    NAME: f'biggan/{FILE}',
    'sngan-proj_woReLUinplace_Glr2e-4_Dlr5e-5_ndisc5-2xb128_imagenet1k-128x128': (
        'sngan_proj/sngan_proj_imagenet1k_128_Glr2e-4_Dlr5e-5_ndisc5_b128x2_woReLUinplace_'
        'fid-iter988000_20210730_131424-061bf803.pth'
    ),
}


def save(file, value=1.0):
    torch.save({'weight': torch.tensor(value)}, file)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_zoo_model_in_checkpoints_is_not_downloaded(here, monkeypatch):
    monkeypatch.setattr(torch.hub, 'download_url_to_file', pytest.fail)
    (here / 'checkpoints').mkdir()
    save(here / 'checkpoints' / FILE, 3.0)
    read = read_checkpoint(NAME)
    assert read.file == f'checkpoints/{FILE}'
    assert read.state['weight'] == 3 and read.meta == {}


def test_another_is_downloaded_into_checkpoints_and_verified(here, monkeypatch):
    calls = []

    def download(url, file, hash_prefix=None):
        calls.append((url, hash_prefix))
        save(file, 4.0)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    assert read_checkpoint(NAME).state['weight'] == 4
    assert calls == [(f'https://download.openmmlab.com/mmediting/biggan/{FILE}', '28c688bc')]
    read = read_checkpoint('https://example.com/gan.pth')
    assert (here / read.file).parent == here / 'checkpoints'
    assert calls[1] == ('https://example.com/gan.pth', None)


def test_a_download_of_other_bytes_is_refused(here, monkeypatch):
    file = here / 'source-28c688bc.pth'
    save(file)
    assert not hashlib.sha256(file.read_bytes()).hexdigest().startswith('28c688bc')
    monkeypatch.setattr(checkpoint_file, 'find_zoo_url', lambda name: file.as_uri())
    with pytest.raises(FileNotFoundError, match='could not be downloaded .invalid hash value'):
        read_checkpoint('anything')
    assert list((here / 'checkpoints').iterdir()) == []


def test_without_a_network_the_address_and_the_place_for_the_file_are_named(here, monkeypatch):
    def fail(*args, **kwargs):
        raise URLError('no way there')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    with pytest.raises(FileNotFoundError, match=rf'/{FILE} could .*no way.*checkpoints/{FILE}'):
        read_checkpoint(NAME)


def test_what_cannot_be_read_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match=r'is the folder .*tools/model_converters'):
        read_checkpoint(str(tmp_path))
    (tmp_path / 'ffhq.pth').write_text('<html>')
    with pytest.raises(ValueError, match='is a web page'):
        read_checkpoint(str(tmp_path / 'ffhq.pth'))
    with pytest.raises(FileNotFoundError, match='there is no such file'):
        read_checkpoint('checkpoints/nothing.pth')


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_imagenet_models_of_the_papers_tables_are_in_the_zoo(name):
    assert find_zoo_url(name) == f'https://download.openmmlab.com/mmediting/{PUBLISHED[name]}'


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"'biggan_imagenet1k-128': no file, and no model"
    ) as error:
        find_zoo_url('biggan_imagenet1k-128')
    assert NAME in str(error.value).split('nearest are ')[1].split(', ')
    with pytest.raises(ValueError, match='that has weights$'):
        find_zoo_url('qqqqqqqq')
