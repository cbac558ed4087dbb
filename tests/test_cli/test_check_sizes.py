"""Sizes that StyleGAN2 cannot have are told before anything is made for them."""

import pytest

from disp_plugin.cli.check_sizes import check_sizes, find_stylegan2_networks
from disp_plugin.cli.resolve_config import load_config


@pytest.fixture
def check(repo_root):
    """A function: name of a config, options -> the networks that passed the check."""

    def run(name, **options):
        cfg = load_config(repo_root / f'configs/{name}.py', options)
        check_sizes(cfg)
        return find_stylegan2_networks(cfg.model)

    return run


@pytest.mark.parametrize('batch', [1, 3, 4, 8, 20])
def test_batches_that_fill_their_groups_pass(check, batch):
    generator, discriminator = check('disp_stylegan2_digits', batch_size=batch)
    assert generator.out_size == discriminator.in_size == 16


def test_other_batches_are_refused_with_the_nearest(check):
    with pytest.raises(ValueError, match='batch_size is 6.* set batch_size to 4 or 8'):
        check('disp_stylegan2_digits', batch_size=6)
    group = {'model.discriminator.discriminator.mbstd_cfg': dict(group_size=6)}
    check('disp_stylegan2_digits', batch_size=6, **group)
    with pytest.raises(ValueError, match='in groups of 6'):
        check('disp_stylegan2_digits', batch_size=8, **group)


def test_image_sizes_without_layers_are_refused(check):
    with pytest.raises(ValueError, match='for images of 48 px; set image_size to one of 8, 16'):
        check('disp_stylegan2_digits', image_size=48)


def test_other_gans_are_left_alone(check):
    assert check('disp_biggan_digits', batch_size=6) == []


def test_the_command_refuses_before_it_builds_a_bank(
    tool, repo_root, digits_folder, tmp_path, capsys
):
    bank = tmp_path / 'bank.safetensors'
    with pytest.raises(SystemExit):
        tool('train.py').main(
            [
                str(repo_root / 'configs/stylegan2_digits_per_image.py'),
                *('--work-dir', str(tmp_path / 'run'), '--cfg-options'),
                f'data_root={digits_folder}',
                f'bank_file={bank}',
                'batch_size=6',
            ]
        )
    assert 'batch_size is 6' in capsys.readouterr().err
    assert not bank.exists() and not (tmp_path / 'run').exists()
