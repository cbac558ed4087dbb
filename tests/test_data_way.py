"""The whole way of the data on a CPU, by the commands of the README and nothing between them."""

import json

import numpy as np
import torch
from PIL import Image

from disp_plugin.evaluation.metric_card import read_cards

CONFIG = 'configs/disp_biggan_digits.py'


def test_digits_become_an_encoder_a_bank_a_gan_and_pictures(
    tool, repo_root, digits_folder, tmp_path, capsys
):
    encoder, bank, run = tmp_path / 'encoder.pth', tmp_path / 'bank.safetensors', tmp_path / 'run'
    config = str(repo_root / CONFIG)
    options = [
        '--cfg-options',
        f'data_root={digits_folder}',
        f'encoder.checkpoint={encoder}',
        'prior_dim=32',
        f'bank_file={bank}',
    ]
    shrink = ['batch_size=4', 'max_iters=2', 'default_hooks.checkpoint.interval=2']
    shrink += ['model.generator.base_channels=4', 'model.ema_config.start_iter=0']
    shrink += ['train_cfg.val_begin=1', 'train_cfg.val_interval=2', 'val_evaluator.fake_nums=50']
    shrink += [f'val_evaluator.cache_dir={tmp_path / "features"}']
    shrink += ['default_hooks.checkpoint.save_best=kid50_val_pixels']
    shrink += ['model.discriminator.discriminator.base_channels=4']

    tool('pretrain_encoder.py').main(
        [
            *(str(digits_folder), str(encoder), '--ann-file', 'source.txt', '--size', '16'),
            *('--arch', 'timm/resnet10t', '--arch-kwargs'),
            json.dumps(dict(channels=[8, 8, 16, 32], stem_width=8)),
            *('--epochs', '1', '--batch-size', '256', '--workers', '0'),
        ]
    )
    tool('build_prior_bank.py').main([config, *options])
    tool('train.py').main([config, '--work-dir', str(run), *options, *shrink])
    checkpoint = run / 'iter_2.pth'
    state = torch.load(checkpoint, map_location='cpu', weights_only=True)['state_dict']
    assert state['sampler.priors'].shape == (100, 32)
    assert state['generator.prior_projection.0.weight'].shape[1] == 32

    samples = ['--out', str(tmp_path / 'samples'), '--num', '5', '--batch-size', '2']
    tool('sample.py').main([str(checkpoint), *samples])
    pictures = sorted((tmp_path / 'samples').glob('0*.png'))
    assert len(pictures) == 5
    assert len({path.read_bytes() for path in pictures}) == 5
    shown = sorted((digits_folder / 'test').glob('*.png'))[0]
    variations = ['--out', str(tmp_path / 'variations'), '--num', '2']
    tool('sample.py').main([str(checkpoint), *variations, '--prior-from', str(shown)])
    grid = np.asarray(Image.open(tmp_path / 'variations_grid.png'))
    assert grid.shape[2] == 3 and grid.std() > 0

    measure = ['--num-images', '60', '--cache-dir', str(tmp_path / 'features')]
    tool('evaluate.py').main([str(run), *measure])
    cards = {card.name: card for card in read_cards(run / 'metric_cards.json')}
    for space in ('pixels', 'prior'):
        assert cards[f'kid60_report_{space}'].protocol.reference.num == 596
        assert cards[f'kid50_val_{space}'].snapshot.iteration == 2
    assert cards['kid60_report_pixels'].snapshot.file.startswith('best_kid50_val_pixels')
    tool('report.py').main([str(run)])
    page = (run / 'report.html').read_text(encoding='utf-8')
    assert 'kid60_report_pixels' in page and 'src="http' not in page
    capsys.readouterr()
