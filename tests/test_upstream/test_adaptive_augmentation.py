"""ADA: second derivatives by finite differences, and a probability that moves as it should."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmagic.models.editors.stylegan2 import StyleGAN2, ada
from mmagic.models.editors.stylegan2.stylegan2_discriminator import ADAAug
from mmagic.models.losses import r1_gradient_penalty_loss
from mmagic.structures import DataSample
from mmengine.logging import MessageHub
from mmengine.model import MMSeparateDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch.autograd import gradcheck, gradgradcheck

from disp_plugin.upstream.operators import grid_sample

GEOMETRY = ('xflip', 'rotate90', 'xint', 'scale', 'rotate', 'aniso', 'xfrac')


class TestGridSample:
    @pytest.fixture
    def images(self):
        return torch.randn(2, 2, 4, 3, dtype=torch.float64).requires_grad_()

    @pytest.fixture
    def grid(self):
        return torch.rand(2, 3, 5, 2, dtype=torch.float64) * 2.6 - 1.3  # some points lie outside

    def test_samples_are_those_of_torch_with_right_derivatives(self, images, grid):
        expected = F.grid_sample(images, grid, align_corners=False)
        assert torch.equal(grid_sample(images, grid), expected)
        assert gradgradcheck(lambda x: grid_sample(x, grid).square(), images)
        assert gradcheck(grid_sample, (images, grid.requires_grad_()))

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


@pytest.mark.parametrize('part', [*((name,) for name in GEOMETRY), GEOMETRY], ids='+'.join)
def test_r1_through_geometry_has_the_derivative_of_finite_differences(part):
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


class TinyGenerator(torch.nn.Module):
    style_channels = 4

    def forward(self, noise, return_noise=False):
        return noise.reshape(-1, 1, 2, 2)


class TinyDiscriminator(torch.nn.Module):
    """As mmagic's discriminator with augmentation, but of one layer."""

    with_ada = True

    def __init__(self, ada_target=0.1):
        super().__init__()
        self.score = torch.nn.Linear(4, 1)
        self.ada_aug = ADAAug(dict(xflip=1), 3, 0.5, ada_target=ada_target, ada_kimg=0.1)

    def forward(self, images):
        return self.score(self.ada_aug.aug_pipeline(images).flatten(1))


def train(discriminator, train_step=None, wrap=lambda gan: gan, num_iters=6, num_images=4):
    """Train the discriminator alone; give p, the counts and what was logged, per iteration."""
    torch.manual_seed(1)
    preprocessor = dict(type='DataPreprocessor')
    gan = StyleGAN2(TinyGenerator(), discriminator, preprocessor, discriminator_steps=99)
    optimizer = torch.optim.SGD(discriminator.parameters(), 0.1)
    wrappers = {'discriminator': OptimWrapper(optimizer)}
    (ada_aug,) = (module for module in discriminator.modules() if isinstance(module, ADAAug))
    wrap(gan)
    found = []
    for iteration in range(num_iters):
        images = torch.randint(0, 256, (num_images, 1, 2, 2), dtype=torch.uint8)
        samples = [DataSample(gt_img=image) for image in images]
        MessageHub.get_current_instance().update_info('iter', iteration)
        data = dict(inputs=dict(img=list(images)), data_samples=samples)
        log_vars = (train_step or StyleGAN2.train_step)(gan, data, wrappers)
        logged = log_vars['augment'].item() if 'augment' in log_vars else None
        found.append((ada_aug.aug_pipeline.p.item(), *ada_aug.log_buffer.tolist(), logged))
    return found


@pytest.fixture
def hub():
    """The message hub, without the scores that a step as of mmagic has left there."""
    hub = MessageHub.get_current_instance()
    yield hub
    hub.runtime_info.pop('disc_pred_real', None)
    hub._resumed_keys.pop('disc_pred_real', None)


def test_a_bare_discriminator_is_updated_exactly_as_by_mmagic(hub):
    discriminator = TinyDiscriminator()
    found = train(copy.deepcopy(discriminator))
    assert found == train(copy.deepcopy(discriminator), StyleGAN2.train_step.__wrapped__)
    assert len({p for p, *_ in found}) == 3  # after 3 of 6 iterations, and after 6


def test_a_discriminator_within_another_module_is_updated_as_a_bare_one(hub):
    discriminator = TinyDiscriminator()
    holder = torch.nn.Sequential(copy.deepcopy(discriminator))
    left_alone = train(copy.deepcopy(holder), StyleGAN2.train_step.__wrapped__)
    assert left_alone == [(0.5, 0, 0, None)] * 6
    hub.runtime_info.pop('disc_pred_real')
    assert train(holder) == train(discriminator)


def test_no_scores_stay_for_checkpoints(hub):
    train(TinyDiscriminator(), num_iters=1)
    assert 'disc_pred_real' not in hub.state_dict()['runtime_info']
    hub.update_info('disc_pred_real', torch.zeros(1), resumed=False)


def test_p_moves_by_the_counts_of_both_processes_and_is_logged(two_processes):
    def train_rank(rank):
        # no mean of signs is below this target: p rises with every update
        discriminator = TinyDiscriminator(ada_target=-2.0)
        options = dict(wrap=MMSeparateDistributedDataParallel, num_images=1 + 2 * rank)
        patched = train(copy.deepcopy(discriminator), **options)
        return patched, train(discriminator, StyleGAN2.train_step.__wrapped__, **options)

    (first, stock), (second, _) = two_processes(train_rank)
    assert first == second
    # 1 image in one process, 3 in the other, an update after every 3 iterations, 100 for 1.0
    probabilities, counted, _, logged = zip(*first, strict=True)
    expected = [0.5, 0.5, 0.62, 0.62, 0.62, 0.74]
    assert probabilities == pytest.approx(expected) and logged == pytest.approx(expected)
    assert counted == (4, 8, 0, 4, 8, 0)
    assert [(p, log) for p, *_, log in stock] == [(0.5, None)] * 6
