"""Files of networks are found and read safely, or refused in words."""

import pytest
import torch
from safetensors.torch import load_file


def save(file, value=1.0, name='output_layer.2.weight'):
    torch.save({name: torch.tensor(value)}, file)


@pytest.fixture
def convert(tool, tmp_path):
    def convert(*args):
        tool('model_converters/biggan_pytorch.py').main([*map(str, args), '--out', str(out)])
        state = load_file(out)
        return {name.split('.output')[0]: float(value) for name, value in state.items()}

    out = tmp_path / 'out' / 'converted.safetensors'
    return convert


def test_the_only_snapshot_of_a_folder_is_read(tmp_path, convert):
    files = {'G_best0': 1, 'G_ema_best0': 2, 'D_best0': 3, 'G_optim_best0': 4, 'D_optim_best0': 5}
    for name, value in {**files, 'state_dict_best0': 6}.items():
        save(tmp_path / f'{name}.pth', float(value))
    expected = {'generator': 1, 'generator_ema.module': 2, 'discriminator': 3}
    assert convert(tmp_path) == expected
    # the one without a suffix is the last that was saved
    save(tmp_path / 'G.pth', 7.0)
    assert convert(tmp_path) == {'generator': 7}


def test_several_snapshots_need_a_choice(tmp_path, convert):
    for number in (1000, 2000):
        for name in 'GD':
            save(tmp_path / f'{name}_{number}.pth', float(number))
    with pytest.raises(SystemExit, match='several snapshots: 1000, 2000; give the files of one by'):
        convert(tmp_path)
    chosen = ['--generator', tmp_path / 'G_1000.pth', '--discriminator', tmp_path / 'D_2000.pth']
    assert convert(*chosen) == {'generator': 1000, 'discriminator': 2000}
    with pytest.raises(SystemExit, match='give one file or folder, or files by --generator'):
        convert(tmp_path, *chosen)


def test_what_cannot_be_read_is_refused_in_words(tmp_path, convert):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit, match='has none of the files that this converter knows'):
        convert(tmp_path / 'empty')
    with pytest.raises(SystemExit, match='does not exist'):
        convert(tmp_path / 'nothing.pth')
    (tmp_path / 'ffhq.pth').write_text('<html>')
    with pytest.raises(SystemExit, match='is a web page'):
        convert(tmp_path / 'ffhq.pth')
    save(tmp_path / 'other.pth', name='backbone.weight')
    with pytest.raises(
        SystemExit, match=r'no weights of BigGAN-PyTorch: .*backbone\.weight, and one of output'
    ):
        convert(tmp_path / 'other.pth')
    assert not (tmp_path / 'out').exists()
