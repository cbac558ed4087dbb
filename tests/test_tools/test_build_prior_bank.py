import importlib

import pytest
import torch

from disp_plugin.priors import PriorBank

ENCODER = ['--encoder', 'type=PixelEncoder', 'size=4']


@pytest.fixture(scope='module')
def build_prior_bank(tool):
    return tool('build_prior_bank.py')


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(importlib.import_module('disp_plugin.priors.build_bank'), 'PART_IMAGES', 2)


@pytest.fixture
def config(image_folder, tmp_path):
    """File of a config such as one trains with."""
    file = tmp_path / 'config.py'
    file.write_text(f"""
custom_imports = dict(imports=['disp_plugin.register'], allow_failed_imports=False)
encoder = dict(type='PixelEncoder', size=4)
train_dataloader = dict(
    dataset=dict(
        type='ImageFolderDataset',
        data_root={str(image_folder)!r},
        image_size=8,
        flip=True,
        bank_file={str(tmp_path / 'bank.safetensors')!r}))
""")
    return file


def test_config_names_data_encoder_and_file(build_prior_bank, config, tmp_path, capsys):
    build_prior_bank.main([str(config)])
    bank = PriorBank.open(tmp_path / 'bank.safetensors')
    assert (bank.num_images, bank.num_views, bank.prior_dim) == (8, 2, 16)
    text = capsys.readouterr().out
    for line in ('images:      8, 2 view(s) each', 'prior_dim:   16', 'images/s', 'mean cosine: '):
        assert line in text


def test_folder_needs_no_config(build_prior_bank, image_folder, tmp_path):
    out = tmp_path / 'out.safetensors'
    build_prior_bank.main(
        [
            *('--images', str(image_folder), '--image-size', '8', '--flip', *ENCODER),
            *('--bank-file', str(out), '--dtype', 'float16', '--workers', '0'),
        ]
    )
    bank = PriorBank.open(out)
    assert (bank.num_images, bank.num_views) == (8, 2)
    assert bank.priors.dtype == 'float16'
    assert bank.origin.view['image_size'] == 8
    assert bank.origin.encoder_config == dict(type='PixelEncoder', size=4)


def test_dry_run_says_what_would_be_done_and_writes_nothing(
    build_prior_bank, config, tmp_path, capsys
):
    build_prior_bank.main([str(config), '--dry-run', '--shard', '1/2'])
    text = capsys.readouterr().out
    assert 'images:   8, from a/image_0000.png to b/image_0007.png' in text
    assert 'views:    2 (as loaded, flipped), image_size=8, crop=center' in text
    assert "PixelEncoder', 'size': 4" in text
    assert 'bank.safetensors (to be written)' in text
    assert 'share:    shard 1 of 2' in text
    assert not (tmp_path / 'bank.safetensors').exists()


def test_processes_of_a_launcher_share_the_work(
    build_prior_bank, config, tmp_path, capsys, monkeypatch
):
    whole = tmp_path / 'whole'
    build_prior_bank.main([str(config), '--bank-file', str(whole), '--batch-size', '4'])
    monkeypatch.setenv('WORLD_SIZE', '2')
    for rank in ('1', '0'):
        monkeypatch.setenv('RANK', rank)
        capsys.readouterr()
        build_prior_bank.main([str(config), '--batch-size', '4'])
        if rank == '1':
            assert 'shard 2 of 2 is done; the last one to end writes' in capsys.readouterr().out
            assert not (tmp_path / 'bank.safetensors').exists()
    assert 'images:      8, 2 view(s) each' in capsys.readouterr().out
    assert (tmp_path / 'bank.safetensors').read_bytes() == whole.read_bytes()


def test_shards_can_be_named_and_merged(build_prior_bank, config, tmp_path, capsys):
    build_prior_bank.main([str(config), '--shard', '1/2', '--batch-size', '4'])
    with pytest.raises(SystemExit):
        build_prior_bank.main([str(config), '--merge', '--batch-size', '4'])
    assert '2 of 4 parts are missing (part-00002, part-00003)' in capsys.readouterr().err
    build_prior_bank.main([str(config), '--shard', '2/2', '--batch-size', '4'])
    build_prior_bank.main([str(config), '--merge', '--batch-size', '4'])
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
        (['--images', 'none', '--bank-file', 'x'], "data_root 'none' does not exist"),
        (['--images', 'images', '--bank-file', 'x', '--shard', '0/2'], 'there is no shard 0 of 2'),
        (['--images', 'images', '--bank-file', 'x', '--encoder', 'type=TimEncoder'],
         "encoder.type of --encoder is 'TimEncoder', which no registry knows"),
        (['--images', 'images', '--bank-file', 'x', '--encoder', 'type=PixelEncoder', 'sise=8'],
         'encoder.sise of --encoder is 8, but PixelEncoder has no such argument; did you mean'),
        (['--images', 'images', '--bank-file', 'x', '--encoder', 'type=CheckpointEncoder',
          'checkpoint=100'], "checkpoint is '100', and there is no such file"),
        (['--images', 'images', '--bank-file', 'x', *ENCODER, '--precision', 'bfloat16'],
         "encoder.precision of --precision is 'bfloat16', but PixelEncoder has no such argument"),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_message(
    build_prior_bank, image_folder, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(image_folder.parent)
    with pytest.raises(SystemExit) as stop:
        build_prior_bank.main(arguments)
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert message in text
    assert 'Traceback' not in text


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'give either a config or --images'),
        (['config.py', '--images', 'x'], 'give either a config or --images'),
        (['--images', 'x'], '--images needs --bank-file'),
        (['config.py', '--shard', '1/2', '--merge'], 'give either --shard or --merge'),
    ],
)
def test_arguments_that_contradict_are_refused(build_prior_bank, capsys, arguments, message):
    with pytest.raises(SystemExit):
        build_prior_bank.parse_args(arguments)
    assert message in capsys.readouterr().err
