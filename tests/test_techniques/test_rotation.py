"""SSGAN: which turns are told, what the loss is, whom it teaches, and that it learns."""

import copy
import math

import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS

from disp_plugin.applications import load_gan
from disp_plugin.cli.config import build_training_set
from disp_plugin.techniques.rotation import RotationDiscriminator, RotationLoss, turn
from tests.gans import assert_same_steps, make_gan, train_gan
from tests.numerics import assert_close_to_scale
from tests.test_hooks.tiny_runs import assert_same, build_runner, gan_cfg, load, snapshot

LOSSES = dict(
    disc_losses=dict(rotation=dict(type='RotationLoss', images='real')),
    gen_losses=dict(rotation=dict(type='RotationLoss', images='fake', loss_weight=0.2)),
)
SSGAN = dict(prior_dim=0, discriminator=dict(type='RotationDiscriminator'), **LOSSES)
BOTH = pytest.mark.parametrize('name', ['sngan', 'biggan'])


def test_labels_are_the_quarter_turns_of_torch():
    img = torch.arange(2 * 1 * 3 * 3.0).view(2, 1, 3, 3)
    turned, labels = turn(img)
    for row, label in zip(turned, labels.tolist(), strict=True):
        expected = img[0] if row.sum() == img[0].sum() else img[1]
        for _ in range(label):  # counterclockwise: the first row becomes the first column, reversed
            expected = expected.flip(2).transpose(1, 2)
        assert torch.equal(row, expected)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@BOTH
def test_a_head_of_zeros_gives_the_entropy_of_four_classes(name):
    gan = make_gan(name, **SSGAN)
    head = gan.discriminator.rotation_head[0]
    head.bias.data.zero_()
    gan.discriminator.register_forward_hook(lambda module, args, out: 0 * out)
    logs = train_gan(gan)
    assert logs[0]['loss_rotation_real'].item() == pytest.approx(math.log(4), rel=1e-6)
    assert logs[0]['loss_rotation_fake'].item() == pytest.approx(0.2 * math.log(4), rel=1e-6)


@BOTH
def test_the_loss_is_the_cross_entropy_of_linear_logits(name):
    gan = make_gan(name, **SSGAN).double().eval()
    img, disc = torch.rand(8, 3, 32, 32).double(), gan.discriminator
    loss = RotationLoss('real')(dict(disc=disc, real_imgs=img, step=0))
    quarter = img[:2]
    turned = torch.cat([quarter.rot90(r, (2, 3)) for r in range(4)])
    head = disc.rotation_head[0]
    logits = disc.extract_features(turned) @ head.weight.T + head.bias
    log_probs = logits - logits.logsumexp(1, keepdim=True)
    expected = -torch.stack([log_probs[2 * r : 2 * r + 2, r].sum() for r in range(4)]).sum() / 8
    assert_close_to_scale(loss, expected)


@BOTH
def test_without_weight_the_step_is_the_baselines(name):
    weightless = copy.deepcopy(SSGAN)
    for part in ('disc_losses', 'gen_losses'):
        weightless[part]['rotation']['loss_weight'] = 0.0
    plain, ours = make_gan(name, prior_dim=0), make_gan(name, **weightless)
    assert_same_steps(plain, ours)


def test_each_network_learns_from_its_own_images_only():
    gan = make_gan('sngan', **SSGAN)
    seen = []
    gan.discriminator.register_forward_hook(
        lambda module, args, kwargs, out: seen.append((args[0], kwargs, out)), with_kwargs=True
    )
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    train_gan(gan, images=images)
    told = [(img, out) for img, kwargs, out in seen if kwargs.get('tell_rotation')]
    assert len(told) == 2
    (real, real_logits), (fake, fake_logits) = told
    assert_close_to_scale(real[0], (images[0].float() - 127.5) / 127.5)
    assert not real.requires_grad and fake.requires_grad and real_logits.requires_grad
    weights = list(gan.discriminator.parameters())
    for parameter in weights:
        parameter.grad = None
    assert fake_logits.shape == real_logits.shape == (4, 4)
    # D is frozen in the step of G: its logits lead to G alone
    leaves, todo = set(), [fake_logits.grad_fn]
    while todo:
        node = todo.pop()
        leaves.add(getattr(node, 'variable', None))
        todo += [parent for parent, _ in node.next_functions if parent is not None]
    assert not any(leaf is weight for leaf in leaves for weight in weights)


def test_the_head_learns_to_tell_turns():
    """Of noise that is brighter at the top."""
    disc = make_gan('sngan', **SSGAN).discriminator
    optimizer = torch.optim.Adam(disc.parameters(), 2e-3)

    def draw_images():
        img = 0.3 * torch.randn(8, 3, 32, 32)
        img[:, :, :8] += 1
        return img

    for step in range(60):
        optimizer.zero_grad()
        RotationLoss('real')(dict(disc=disc, real_imgs=draw_images(), step=step)).backward()
        optimizer.step()
    turned, labels = turn(draw_images())
    told = disc.eval()(turned, tell_rotation=True).argmax(1)
    assert (told == labels).float().mean() > 0.5


@pytest.mark.parametrize('shape', [(4, 3, 32, 16), (3, 3, 32, 32)])
def test_what_cannot_be_turned_is_refused(shape):
    gan = make_gan('sngan', **SSGAN)
    with pytest.raises(ValueError, match='batches of 4 images or more'):
        RotationLoss('real')(dict(disc=gan.discriminator, real_imgs=torch.rand(shape), step=0))
    with pytest.raises(ValueError, match='needs a RotationDiscriminator'):
        disc = make_gan('sngan').discriminator
        RotationLoss('real')(dict(disc=disc, real_imgs=torch.rand(4, 3, 32, 32), step=0))


def test_the_method_makes_any_gan_one():
    from mmagic.registry import MODELS

    from disp_plugin.cli.config import load_config

    for name in ('disp_sngan_digits', 'disp_biggan_digits', 'disp_stylegan2_digits'):
        cfg = load_config(f'configs/{name}.py', {}, 'ssgan', [])
        gan = MODELS.build(cfg.model)
        assert isinstance(gan.discriminator, RotationDiscriminator) and gan.prior_dim == 0
        logits = gan.discriminator(torch.rand(4, 3, 16, 16), tell_rotation=True)
        assert logits.shape == (4, 4)
        assert 'rotation' in cfg.model.gen_losses and not cfg.train_dataloader.dataset.bank_file


def config_of_run():
    config = {**gan_cfg('plain'), **copy.deepcopy(LOSSES)}
    config['discriminator']['type'] = 'RotationDiscriminator'
    return config


def test_a_resumed_run_is_the_uninterrupted_one(make_image_folder, tmp_path):
    """Two processes: tests/test_models/test_two_processes.py."""
    folder = make_image_folder(tmp_path / 'images', num=10, size=20)

    def train(name, **options):
        runner = build_runner(folder, None, config_of_run(), tmp_path / name, 7, **options)
        runner.train()
        return runner

    whole = train('whole')
    torch.manual_seed(4)
    resumed = train('resumed', resume_from=snapshot(whole, 4))
    for part in ('state_dict', 'optimizer', 'random_state'):
        assert_same(load(whole, 7)[part], load(resumed, 7)[part])
    assert any('rotation_head' in name for name in load(whole, 7)['state_dict'])


@pytest.mark.slow
def test_on_digits_the_head_tells_turns_of_unseen_ones(digits_folder, tool, tmp_path):
    """Of 9 and 6 a half turn cannot be told, and chance is a quarter."""
    options = [f'data_root={digits_folder}', 'max_iters=160']
    command = ['configs/disp_sngan_digits.py', '--method', 'ssgan', '--work-dir', str(tmp_path)]
    tool('train.py').main([*command, '--cfg-options', *options])
    gan, cfg = load_gan(tmp_path)
    gan.discriminator.eval()
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    assert not set(dataset.image_keys) & set(build_training_set(cfg).image_keys)
    batch = dict(inputs={}, data_samples=dataset.load(np.arange(len(dataset)), False))
    turned, labels = turn(gan.data_preprocessor(batch, True)['data_samples'].gt_img)
    with torch.no_grad():
        told = gan.discriminator(turned, tell_rotation=True).argmax(1)
    assert (told == labels).float().mean() > 0.4
