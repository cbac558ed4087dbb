"""Adaptive augmentation: derivatives through it, and a probability that moves as it should."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmagic.models.editors.stylegan2 import StyleGAN2, ada
from mmagic.models.editors.stylegan2.stylegan2_discriminator import ADAAug
from mmagic.models.losses import r1_gradient_penalty_loss
from mmagic.structures import DataSample
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch.autograd import gradcheck, gradgradcheck

from disp_plugin.upstream.operators.grid_sampling import grid_sample

GEOMETRY = ('xflip', 'rotate90', 'xint', 'scale', 'rotate', 'aniso', 'xfrac')
OTHERS = (
    'brightness', 'contrast', 'lumaflip', 'hue', 'saturation', 'imgfilter', 'noise', 'cutout',
)  # fmt: skip


class TestGridSample:
    @pytest.fixture
    def images(self):
        return torch.randn(2, 2, 4, 3, dtype=torch.float64).requires_grad_()

    @pytest.fixture
    def grid(self):
        return torch.rand(2, 3, 5, 2, dtype=torch.float64) * 2.6 - 1.3  # some points lie outside

    def test_samples_and_first_derivatives_are_those_of_torch(self, images, grid):
        grid.requires_grad_()
        found = grid_sample(images, grid)
        expected = F.grid_sample(images, grid, align_corners=False)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        weights = torch.randn_like(found)
        for one, other in zip(
            torch.autograd.grad(found, (images, grid), weights),
            torch.autograd.grad(expected, (images, grid), weights),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        assert gradcheck(grid_sample, (images, grid))

    def test_the_second_derivative_in_the_images_is_right(self, images, grid):
        assert gradgradcheck(lambda x: grid_sample(x, grid).square(), images)

    def test_a_second_derivative_in_the_grid_is_refused(self, images, grid):
        grid.requires_grad_()
        loss = grid_sample(images, grid).square().sum()
        (grad,) = torch.autograd.grad(loss, images, create_graph=True)
        with pytest.raises(RuntimeError, match='no second derivative with respect to its grid'):
            grad.square().sum().backward()


def augment_and_score(pipe, weight):
    """A discriminator behind a pipe that draws the same augmentations in every call."""

    def score(images):
        torch.manual_seed(3)
        return (torch.tanh(pipe(images)) * weight).flatten(1).sum(dim=1)

    return score


class TestAugmentPipe:
    @pytest.mark.parametrize('part', [*((name,) for name in GEOMETRY), GEOMETRY], ids='+'.join)
    def test_r1_through_geometry_has_the_derivative_of_finite_differences(self, part):
        pipe = ada.augment.AugmentPipe(**dict.fromkeys(part, 1))
        images = torch.rand(2, 3, 6, 6, dtype=torch.float64) * 2 - 1
        weight = torch.randn(3, 6, 6, dtype=torch.float64).requires_grad_()
        direction = torch.randn_like(weight)

        def penalty(weight):
            return r1_gradient_penalty_loss(augment_and_score(pipe, weight), images)

        loss = penalty(weight)
        (grad,) = torch.autograd.grad(loss, weight)
        step = 1e-5
        with torch.no_grad():
            ahead, behind = weight + step * direction, weight - step * direction
        expected = (penalty(ahead).detach() - penalty(behind).detach()) / (2 * step)
        assert loss > 0
        torch.testing.assert_close((grad * direction).sum(), expected, rtol=1e-6, atol=1e-8)

    @pytest.mark.parametrize('channels', [1, 3])
    def test_all_parts_together_change_images_and_can_be_penalized(self, channels):
        pipe = ada.augment.AugmentPipe(**dict.fromkeys(GEOMETRY + OTHERS, 1))
        images = torch.rand(4, channels, 24, 24) * 2 - 1  # imgfilter needs more than 21 px
        weight = torch.randn(channels, 24, 24, requires_grad=True)
        assert not torch.allclose(pipe(images), images, atol=0.1)
        r1_gradient_penalty_loss(augment_and_score(pipe, weight), images).backward()
        assert torch.isfinite(weight.grad).all() and weight.grad.abs().max() > 0


class TinyGenerator(torch.nn.Module):
    style_channels = 4

    def forward(self, noise, return_noise=False):
        return noise.reshape(-1, 1, 2, 2)


class TinyDiscriminator(torch.nn.Module):
    """As mmagic's discriminator with augmentation, but of one layer."""

    with_ada = True

    def __init__(self):
        super().__init__()
        self.score = torch.nn.Linear(4, 1)
        self.ada_aug = ADAAug(dict(xflip=1), 3, 0.5, ada_target=0.1, ada_kimg=0.1)

    def forward(self, images):
        return self.score(self.ada_aug.aug_pipeline(images).flatten(1))


def train(discriminator, train_step=None, num_iters=6):
    """Train the discriminator alone; give p, the counts and what was logged, per iteration."""
    torch.manual_seed(1)
    gan = StyleGAN2(
        TinyGenerator(), discriminator, dict(type='DataPreprocessor'), discriminator_steps=99
    )
    optimizer = torch.optim.SGD(discriminator.parameters(), 0.1)
    wrappers = {'discriminator': OptimWrapper(optimizer)}
    (ada_aug,) = (module for module in discriminator.modules() if isinstance(module, ADAAug))
    found = []
    for iteration in range(num_iters):
        images = torch.randint(0, 256, (4, 1, 2, 2), dtype=torch.uint8)
        samples = [DataSample(gt_img=image) for image in images]
        MessageHub.get_current_instance().update_info('iter', iteration)
        data = dict(inputs=dict(img=list(images)), data_samples=samples)
        log_vars = (train_step or StyleGAN2.train_step)(gan, data, wrappers)
        counts = ada_aug.log_buffer.tolist()
        found.append((ada_aug.aug_pipeline.p.item(), *counts, log_vars.get('augment')))
    return found


@pytest.fixture
def hub():
    """The message hub, without the scores that a step as of mmagic has left there."""
    hub = MessageHub.get_current_instance()
    yield hub
    hub.runtime_info.pop('disc_pred_real', None)
    hub._resumed_keys.pop('disc_pred_real', None)


class TestTrainStep:
    def test_a_bare_discriminator_is_updated_exactly_as_by_mmagic(self, hub):
        discriminator = TinyDiscriminator()
        found = train(copy.deepcopy(discriminator))
        assert found == train(copy.deepcopy(discriminator), StyleGAN2.train_step.__wrapped__)
        assert len({p for p, *_ in found}) == 3  # after 3 of 6 iterations, and after 6

    def test_a_discriminator_within_another_module_is_updated_as_a_bare_one(self, hub):
        discriminator = TinyDiscriminator()
        holder = torch.nn.Sequential(copy.deepcopy(discriminator))
        left_alone = train(copy.deepcopy(holder), StyleGAN2.train_step.__wrapped__)
        assert left_alone == [(0.5, 0, 0, None)] * 6
        hub.runtime_info.pop('disc_pred_real')
        assert train(holder) == train(discriminator)

    def test_no_scores_stay_for_checkpoints(self, hub):
        train(TinyDiscriminator(), num_iters=1)
        assert 'disc_pred_real' not in hub.state_dict()['runtime_info']
        hub.update_info('disc_pred_real', torch.zeros(1), resumed=False)

    def test_a_step_that_leaves_no_scores_is_told_of(self, hub, monkeypatch):
        monkeypatch.setattr(StyleGAN2, 'train_discriminator', lambda *args: {})
        with pytest.raises(RuntimeError, match="left no 'disc_pred_real' in the message hub"):
            train(torch.nn.Sequential(TinyDiscriminator()), num_iters=1)


@pytest.fixture(scope='module')
def found(repo_root, tmp_path_factory):
    """What both processes saw after each iteration, with the patch and without it."""
    file = tmp_path_factory.mktemp('ada') / 'found.pth'
    script = Path(__file__).parent / 'ada_processes.py'
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    result = subprocess.run(
        [*command, str(script), str(file)],
        env={**os.environ, 'PYTHONPATH': str(repo_root), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return torch.load(file, weights_only=True)


@pytest.mark.slow
def test_without_the_patch_p_does_not_move(found):
    for process in found['stock']:
        assert [iteration['p'] for iteration in process] == [0.25] * 2
        assert [iteration['logged'] for iteration in process] == [None] * 2


@pytest.mark.slow
@pytest.mark.parametrize('gan', ['stylegan2', 'sngan'])
def test_p_moves_by_the_counts_of_both_processes_and_is_logged(found, gan):
    # 1 image in one process, 3 in the other, an update after every 2 iterations, 100 for 1.0
    expected = [0.25, 0.25 + 0.08, 0.25 + 0.08, 0.25 + 0.16]
    for process in found[gan]:
        assert [iteration['p'] for iteration in process] == pytest.approx(expected)
        assert [iteration['logged'] for iteration in process] == pytest.approx(expected)
    first, second = found[gan]
    for number in (0, 2):  # the other iterations end in an update, which empties the counts
        signs = first[number]['own signs'] + second[number]['own signs']
        assert first[number]['counts'] == second[number]['counts'] == [4, signs]
        assert first[number + 1]['counts'] == second[number + 1]['counts'] == [0, 0]
    assert [iteration['own signs'] for iteration in first] != [
        iteration['own signs'] for iteration in second
    ]
