"""Training, sampling and metrics keep to one device and do not wait for it; no GPU is needed.

Networks and data lie on the 'meta' device, whose tensors have no values, and as on a GPU they must
not be mixed with tensors of the CPU. Unlike fake tensors on 'cuda' they go backward, too.
"""

import numpy as np
import pytest
import torch
from mmagic.models.utils import get_module_device
from mmagic.registry import MODELS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from disp_plugin.applications.invert_images import invert_images
from disp_plugin.applications.sample_images import sample_images
from disp_plugin.evaluation.metrics.discriminator_gap import DiscriminatorGapMetric
from disp_plugin.evaluation.metrics.distances import frechet_distance, kernel_distance
from disp_plugin.evaluation.metrics.manifold_scores import manifold_scores
from disp_plugin.evaluation.metrics.memorization import data_copying, memorization_floor
from disp_plugin.hooks import estimate_batch_norm
from disp_plugin.models import PriorNormalizer
from disp_plugin.models.prior_normalizer import PRIOR_NORMS
from disp_plugin.priors import PriorBank
from tests.gans import PRIOR_DIM, SIZE, TYPE, make_gan, train_gan
from tests.test_hooks.tiny_runs import build_runner, gan_cfg, save_bank

DEVICE = torch.device('meta')
aten = torch.ops.aten


class OneDevice(TorchDispatchMode):
    """Treat 'meta' as a device of its own, of which nothing can be read unless it is allowed to.

    Values that are read are 1 or True, also on the CPU; masks choose all.
    """

    def __init__(self, can_wait=False):
        super().__init__()
        self.can_wait = can_wait

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = func.overloadpacket
        if packet == aten._local_scalar_dense and args[0].device == DEVICE:
            self.check_wait(func)
            return torch.ones((), dtype=args[0].dtype).item()
        if packet in (aten._to_copy, aten.copy_):
            return self.copy(func, args, kwargs)
        if packet == aten.index:
            args = args[0], [self.choose_all(index) for index in args[1]]
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        # kernels take single numbers of the CPU as arguments
        takes_numbers = torch.Tag.pointwise in func.tags
        devices = {tensor.device.type for tensor in given if tensor.dim() or not takes_numbers}
        if len(devices) > 1:
            raise RuntimeError(f'{func} mixes tensors of {" and ".join(sorted(devices))}')
        return func(*args, **kwargs)

    def check_wait(self, func):
        if not self.can_wait:
            raise RuntimeError(f'{func} makes the CPU wait for the device')

    def copy(self, func, args, kwargs):
        if func.overloadpacket == aten.copy_:
            target, source = args[0], args[1]
        else:
            source = args[0]
            target = torch.empty(
                source.shape,
                dtype=kwargs.get('dtype') or source.dtype,
                device=kwargs.get('device') or source.device,
            )
        if source.device != DEVICE or target.device == DEVICE:
            return func(*args, **kwargs)
        self.check_wait(func)
        return target.fill_(1)

    def choose_all(self, index):
        if index is None or index.dtype != torch.bool or index.device != DEVICE:
            return index
        self.check_wait('a mask')
        return torch.arange(len(index), device=DEVICE)


@pytest.fixture(autouse=True)
def known_device(monkeypatch):
    """mmagic asks for CUDA or a CPU, and autocast does not know this device."""
    find_device = (lambda module: next(module.parameters()).device).__code__
    monkeypatch.setattr(get_module_device, '__code__', find_device)
    autocast = torch.autocast

    def autocast_anywhere(device_type, *args, **kwargs):
        return autocast('cpu' if device_type == DEVICE.type else device_type, *args, **kwargs)

    monkeypatch.setattr(torch, 'autocast', autocast_anywhere)


PRIORS = np.random.default_rng(0).random((40, PRIOR_DIM), dtype=np.float32)
BANK = PriorBank([f'{index}.png' for index in range(40)], PRIORS)
SAMPLERS = {
    'empirical': dict(type='EmpiricalPriorSampler'),
    'mix': dict(type='VicinalMixSampler'),
    'neighbors': dict(type='VicinalMixSampler', num_neighbors=3),
    'kmeans': dict(type='KMeansPriorSampler', num_components=3),
    'per_image': dict(type='PerImageSampler', prior_dim=PRIOR_DIM),
    'cells': dict(type='CellSampler', prior_dim=PRIOR_DIM),
    'gmm': dict(type='GMMPriorSampler', num_components=2),
    'raw_gmm': dict(type='GMMPriorSampler', num_components=2, pca_variance=None),
    'tied_gmm': dict(type='GMMPriorSampler', num_components=2, covariance_type='tied'),
    'full_gmm': dict(type='GMMPriorSampler', num_components=2, covariance_type='full'),
}


def make(name, sampler='mix', **options):
    """A GAN on the device whose sampler and normalizer are fitted."""
    gan = make_gan(name, sampler=SAMPLERS[sampler], **options)
    gan.sampler.fit(BANK)
    if gan.prior_dim and not gan.per_image:
        gan.prior_normalizer.fit(torch.from_numpy(PRIORS))
    return gan.to(DEVICE)


def devices_of(value):
    return {leaf.device for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)}


AUGMENTED = dict(discriminator=dict(augmentation=dict(type='DiffAugment')))
ADAPTIVE = dict(type='AdaptiveAugment', augment_initial_p=1.0)
CONSISTENCY = dict(type='ConsistencyRegularization', augmentation=dict(type='DiffAugment'))
TECHNIQUES = {
    'plain': {},
    'unconditional': dict(prior_dim=0),
    'per_image': dict(per_image=True, sampler='per_image'),
    'cells': dict(per_image=True, sampler='cells'),
    'diff_augment': AUGMENTED,
    'consistency': dict(disc_losses=dict(consistency=CONSISTENCY)),
    'r1': dict(disc_losses=dict(r1=dict(type='R1GradientPenalty'))),
    'freeze_d': dict(discriminator=dict(freeze=dict(type='FreezeD', blocks=1))),
    'mined': dict(mining_iters=1),
    'wasserstein': dict(loss='wasserstein'),
    'whitened': dict(prior_norm='whitened'),
    'jointly': dict(score_jointly=True),
    'channels_last': dict(channels_last=True),
}
STEPS = [('sngan', technique) for technique in TECHNIQUES]
STEPS += [
    (name, part) for name in ('biggan', 'stylegan2') for part in ('plain', 'mined', 'channels_last')
]


@pytest.mark.parametrize(('name', 'technique'), STEPS)
def test_a_step_keeps_to_the_device_and_does_not_wait_for_it(name, technique):
    gan = make(name, ema_config=dict(type='ExponentialMovingAverage'), **TECHNIQUES[technique])
    average = gan.generator_ema
    average._num_updates = 1  # which it reads once a run
    # a move to this device, unlike one to a GPU, makes new parameters
    average.avg_parameters = dict(average.module.named_parameters())
    with OneDevice():
        (logged,) = train_gan(gan, optimizer=torch.optim.SGD)
    assert devices_of(logged) == {DEVICE}


@pytest.mark.parametrize('name', ['sngan', 'biggan'])
def test_a_run_waits_only_where_it_logs(name, make_image_folder, tmp_path, monkeypatch):
    folder = make_image_folder(tmp_path / 'images', num=8, size=20)
    bank = save_bank(tmp_path / 'bank.safetensors', torch.rand(8, 2, 6))
    optimizer = dict(type='PrecisionOptimWrapper', clip_grad=dict(max_norm=1.0))
    optimizer['optimizer'] = dict(type='SGD', lr=0.001)
    runner = build_runner(
        folder,
        bank,
        gan_cfg(name, ema_config=None),
        tmp_path,
        max_iters=4,
        default_hooks=dict(checkpoint=None, logger=dict(type='LoggerHook', interval=2)),
        hooks=[dict(type='FiniteHook', patience=2)],
        optim_wrapper=dict(
            constructor='MultiOptimWrapperConstructor', generator=optimizer, discriminator=optimizer
        ),
    )
    runner.model.to(DEVICE)
    monkeypatch.setattr(runner, '_init_model_weights', lambda: None)
    mode, waits, run_iter = OneDevice(can_wait=True), [], runner.train_loop.run_iter
    monkeypatch.setattr(mode, 'check_wait', lambda func: waits.append(func))
    waited = []

    def run_counted(data_batch):
        waits.clear()
        run_iter(data_batch)
        waited.append(len(waits) > 0)

    monkeypatch.setattr(runner.train_loop, 'run_iter', run_counted)
    with mode:
        runner.train()
    assert waited == [False, True, False, True]
    assert runner.message_hub.get_scalar('train/loss_disc_fake').data[0].tolist() == [1.0] * 4


@pytest.mark.parametrize('name', ['sngan', 'stylegan2'])
def test_adaptive_augmentation_waits_in_the_host_and_keeps_to_the_device(name):
    gan = make(name, discriminator=dict(augmentation=ADAPTIVE))
    with OneDevice(can_wait=True):
        (logged,) = train_gan(gan, optimizer=torch.optim.SGD)
    assert devices_of(logged) == {DEVICE}
    assert 'augment' in logged


@pytest.mark.parametrize('name', TYPE)
def test_the_hosts_gans_with_further_losses_keep_to_the_device(name):
    gan = make_gan(
        name,
        stock=True,
        type=f'Regularized{TYPE[name]}',
        disc_losses=dict(consistency=CONSISTENCY),
    ).to(DEVICE)
    with OneDevice():
        (logged,) = train_gan(gan, optimizer=torch.optim.SGD)
    assert devices_of(logged) == {DEVICE}


@pytest.mark.parametrize('mode', PRIOR_NORMS)
@pytest.mark.parametrize('sampler', SAMPLERS)
def test_samplers_and_normalizers_keep_to_the_device(sampler, mode):
    built = MODELS.build(SAMPLERS[sampler])
    built.fit(BANK)
    normalizer = PriorNormalizer(PRIOR_DIM, mode)
    normalizer.fit(torch.from_numpy(PRIORS))
    # it may read what it was fitted to
    with OneDevice(can_wait=True):
        prior = normalizer.to(DEVICE)(built.to(DEVICE).sample(5))
    assert prior.device == DEVICE
    assert prior.shape == (5, PRIOR_DIM)


@pytest.mark.parametrize('name', TYPE)
def test_sampling_keeps_to_the_device_until_pictures_are_made(name):
    gan = make(name, ema_config=dict(type='ExponentialMovingAverage'), prior_norm='whitened').eval()
    noise, prior = torch.randn(3, gan.noise_size), torch.from_numpy(PRIORS[:3])
    with OneDevice(can_wait=True):
        samples = gan.val_step({'inputs': {'num_batches': 3}})
        (pictures,) = sample_images(gan, noise, prior, truncation=0.5)
        estimate_batch_norm(gan, num_batches=1, batch_size=2)
        found = invert_images(
            gan, torch.zeros(2, 3, *[SIZE[name]] * 2), prior[:2], 2, noise=noise[:1]
        )
    assert {sample.fake_img.device for sample in samples} == {DEVICE}
    assert pictures.shape == (3, SIZE[name], SIZE[name], 3)
    assert found.images.shape == (2, 3, SIZE[name], SIZE[name])


METRICS = {
    'fid': frechet_distance,
    'kid': kernel_distance,
    'manifold': manifold_scores,
    'floor': lambda first, second: memorization_floor(first, second, 50),
    'copying': lambda first, second: data_copying(first, second, second, num_cells=1),
}


@pytest.mark.parametrize('metric', METRICS)
def test_metrics_keep_to_the_device(metric):
    features = torch.rand(60, 4, device=DEVICE)
    with OneDevice(can_wait=True):
        assert METRICS[metric](features, features + 1)


@pytest.mark.parametrize('name', TYPE)
def test_the_score_of_real_images_keeps_to_the_device(name):
    metric = object.__new__(DiscriminatorGapMetric)
    metric.gan = make(name)
    images = torch.zeros(4, 3, SIZE[name], SIZE[name], device=DEVICE)
    with OneDevice():
        assert devices_of(metric._discriminate(images, images.new_zeros(4, PRIOR_DIM))) == {DEVICE}


ENCODERS = {
    'checkpoint': dict(
        type='CheckpointEncoder',
        arch='timm/resnet10t',
        arch_kwargs=dict(channels=[4, 4, 4, 4], stem_width=4),
        untrained=True,
        in_size=32,
    ),
    'pixels': dict(type='PixelEncoder', size=4),
}


@pytest.mark.parametrize('encoder', ENCODERS)
def test_encoders_keep_to_the_device(encoder):
    built = MODELS.build(ENCODERS[encoder]).to(DEVICE)
    with OneDevice(can_wait=True):
        assert built(torch.zeros(2, 3, 16, 16, device=DEVICE)).device == DEVICE


def test_the_stand_in_finds_tensors_of_the_cpu_and_waits():
    values = torch.ones(3, device=DEVICE)
    with OneDevice():
        assert (values * torch.tensor(2.0)).device == DEVICE  # a number
        for mix in (
            lambda: values + torch.ones(3),
            lambda: values[torch.arange(2)],
            lambda: torch.stack([values[0], torch.tensor(1.0)]),
            lambda: torch.nn.functional.linear(values, torch.ones(3, 3)),
        ):
            with pytest.raises(RuntimeError, match='mixes tensors of cpu and meta'):
                mix()
        for wait in (
            values.cpu,
            values.sum().item,
            lambda: bool(values[0] > 0),
            lambda: values[values > 0],
            lambda: torch.empty(3).copy_(values),
        ):
            with pytest.raises(RuntimeError, match='makes the CPU wait for the device'):
                wait()
