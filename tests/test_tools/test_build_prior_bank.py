import json

import pytest
import torch
from safetensors.torch import save_file

from disp_plugin.priors import PriorBank


@pytest.fixture(scope='module')
def build_prior_bank(tool):
    return tool('build_prior_bank.py')


@pytest.fixture
def encoder():
    """The config of an encoder that needs no weights."""
    return json.dumps(dict(type='PerImageEncoder', num_images=8))


@pytest.fixture
def config(image_folder, tmp_path):
    """File of a config such as one trains with."""
    file = tmp_path / 'config.py'
    file.write_text(f"""
custom_imports = dict(imports=['disp_plugin.register'], allow_failed_imports=False)
data_root = {str(image_folder)!r}
bank_file = {str(tmp_path / 'bank.safetensors')!r}
encoder = dict(type='PerImageEncoder', num_images=8)
train_dataloader = dict(
    dataset=dict(
        type='SeededDraws',
        dataset=dict(
            type='ImageFolderDataset',
            data_root=data_root,
            pipeline=[
                dict(type='LoadTrainingImage'),
                dict(type='Flip', keys='gt'),
                dict(type='LoadPrior', bank_file=bank_file),
                dict(type='PackInputs', data_keys=['gt_prior']),
            ])))
""")
    return file


def test_config_names_data_encoder_and_file(build_prior_bank, config, tmp_path, capsys):
    build_prior_bank.main([str(config)])
    bank = PriorBank.open(tmp_path / 'bank.safetensors')
    assert (bank.num_images, bank.num_views, bank.prior_dim) == (8, 2, 8)
    text = capsys.readouterr().out
    for line in (
        'images:      8, 2 view(s) each',
        'prior_dim:   8',
        'images/s',
        'mean cosine: 0.00',
    ):
        assert line in text
    assert 'nearly parallel' not in text


def test_options_change_the_config(build_prior_bank, config, tmp_path):
    out = tmp_path / 'other.safetensors'
    build_prior_bank.main(
        [str(config), '--cfg-options', 'encoder.scale=3.0', '--bank-file', str(out)]
    )
    torch.testing.assert_close(PriorBank.open(out).lookup(['a/image_0000.png']).sum().item(), 3.0)
    assert not (tmp_path / 'bank.safetensors').exists()


def test_folder_needs_no_config(build_prior_bank, image_folder, tmp_path, encoder):
    out = tmp_path / 'out.safetensors'
    build_prior_bank.main(
        [
            *('--data-root', str(image_folder), '--size', '8', '--flip', '--encoder', encoder),
            *('--out', str(out), '--dtype', 'float16', '--workers', '0'),
        ]
    )
    bank = PriorBank.open(out)
    assert (bank.num_images, bank.num_views) == (8, 2)
    assert bank.priors.dtype == 'float16'
    assert bank.origin.pipeline[2]['scale'] == [8, 8]
    assert bank.origin.encoder_config == json.loads(encoder)


def test_dry_run_says_what_would_be_done_and_writes_nothing(
    build_prior_bank, config, tmp_path, capsys
):
    build_prior_bank.main([str(config), '--dry-run'])
    text = capsys.readouterr().out
    assert 'images:   8, from a/image_0000.png to b/image_0007.png' in text
    assert 'views:    2 (as loaded, flipped)' in text
    assert "PerImageEncoder', 'num_images': 8" in text
    assert 'bank.safetensors (to be written)' in text
    assert not (tmp_path / 'bank.safetensors').exists()


def test_processes_of_a_launcher_share_the_work(
    build_prior_bank, config, tmp_path, capsys, monkeypatch
):
    build_prior_bank.main(
        [str(config), '--bank-file', str(tmp_path / 'whole'), '--batch-size', '4']
    )
    monkeypatch.setenv('WORLD_SIZE', '2')
    for rank in ('1', '0'):
        monkeypatch.setenv('RANK', rank)
        capsys.readouterr()
        build_prior_bank.main([str(config), '--batch-size', '4'])
        if rank == '1':
            assert 'shard 2 of 2 is done; the last one to end writes' in capsys.readouterr().out
            assert not (tmp_path / 'bank.safetensors').exists()
    assert 'images:      8, 2 view(s) each' in capsys.readouterr().out
    assert (tmp_path / 'bank.safetensors').read_bytes() == (tmp_path / 'whole').read_bytes()


def test_shards_can_be_named_and_merged(build_prior_bank, config, tmp_path, capsys):
    build_prior_bank.main([str(config), '--shard', '1/2', '--dry-run'])
    assert 'share:    shard 1 of 2' in capsys.readouterr().out
    build_prior_bank.main([str(config), '--shard', '1/2', '--batch-size', '4'])
    with pytest.raises(SystemExit):
        build_prior_bank.main([str(config), '--merge', '2', '--batch-size', '4'])
    assert 'shard 2 of 2 has 0 of 4 images' in capsys.readouterr().err
    build_prior_bank.main([str(config), '--shard', '2/2', '--batch-size', '4'])
    build_prior_bank.main([str(config), '--merge', '2', '--batch-size', '4'])
    assert PriorBank.open(tmp_path / 'bank.safetensors').num_images == 8


def test_parallel_priors_are_told_with_the_cure(build_prior_bank, tmp_path):
    priors = 1 + 0.1 * torch.rand(20, 16)
    PriorBank([str(i) for i in range(20)], priors).save(tmp_path / 'bank')
    text = build_prior_bank.summarize(PriorBank.open(tmp_path / 'bank'), 0, 0.0)
    assert 'mean cosine: 1.00' in text
    assert "prior_norm='centered_l2' (--cfg-options model.prior_norm=centered_l2)" in text


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['no_such_config.py'], 'config file no_such_config.py does not exist'),
        (['--data-root', 'none', '--out', 'x'], "data_root 'none' does not exist"),
        (['--data-root', '.', '--out', 'x', '--shard', '0/2'], 'there is no shard 0 of 2'),
        (['--data-root', '.', '--out', 'x', '--encoder', '{type'], '--encoder must be JSON such'),
        (['--data-root', '.', '--out', 'x', '--encoder', '[1]'], 'must be an object with a "type"'),
        (['--data-root', '{}', '--out', '{}', '--encoder', '{"type": "TimEncoder"}'],
         "type='TimEncoder', but no such class is registered"),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_message(
    build_prior_bank, image_folder, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(image_folder.parent)
    fill = ['images' if a == '{}' and i == 1 else 'b' if a == '{}' else a
            for i, a in enumerate(arguments)]  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        build_prior_bank.main(fill)
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert message in text
    assert 'Traceback' not in text


def test_another_file_in_the_place_of_the_bank_is_kept(build_prior_bank, config, tmp_path, capsys):
    save_file({'weight': torch.ones(2)}, tmp_path / 'bank.safetensors')
    before = (tmp_path / 'bank.safetensors').read_bytes()
    with pytest.raises(SystemExit):
        build_prior_bank.main([str(config)])
    assert 'is not a prior bank but another safetensors file' in capsys.readouterr().err
    assert (tmp_path / 'bank.safetensors').read_bytes() == before


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'give either a config or --data-root'),
        (['config.py', '--data-root', 'x'], 'give either a config or --data-root'),
        (['--data-root', 'x'], '--data-root needs --out'),
        (['config.py', '--shard', '1/2', '--merge', '2'], 'give either --shard or --merge'),
    ],
)
def test_arguments_that_contradict_are_refused(build_prior_bank, capsys, arguments, message):
    with pytest.raises(SystemExit):
        build_prior_bank.parse_args(arguments)
    assert message in capsys.readouterr().err
