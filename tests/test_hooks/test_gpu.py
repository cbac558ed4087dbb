"""What only a CUDA device can show; skipped where there is none."""

import pytest
import torch
from mmengine.config import Config

from disp_plugin.cli.prepare_run import turn_on_amp
from disp_plugin.models import PriorNormalizer
from disp_plugin.priors import PriorBank
from disp_plugin.samplers import VicinalMixSampler

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
]


def with_amp(model):
    """A config with mixed precision, and with the model where one is given."""
    optimizer = {'optimizer': {'type': 'Adam', 'lr': 0.001, 'betas': (0.0, 0.9)}}
    wrapper = {
        'constructor': 'MultiOptimWrapperConstructor',
        'generator': dict(optimizer),
        'discriminator': dict(optimizer),
    }
    cfg = Config({'optim_wrapper': wrapper, **({'model': model} if model else {})})
    turn_on_amp(cfg)
    return cfg


@pytest.mark.parametrize('gan', ['biggan', 'sngan'])
def test_mixed_precision_really_acts_and_trains(gan, gan_cfg, make_runner, visualization):
    hooks = [
        {'type': 'EMABatchNormHook', 'num_batches': 2, 'batch_size': 4},
        visualization(2),
    ]
    cfg = with_amp(None)
    model = gan_cfg[gan](prior_norm='none', discriminator_steps=1)
    wrapper = cfg.optim_wrapper.to_dict()
    runner = make_runner(model, max_iters=4, custom_hooks=hooks, optim_wrapper=wrapper)
    runner.model.sampler.set_buffer('priors', torch.randn(10, 6))
    dtypes = set()
    conv = next(m for m in runner.model.modules() if isinstance(m, torch.nn.Conv2d))
    conv.register_forward_hook(lambda module, args, out: dtypes.add(out.dtype))
    before = {k: v.detach().clone() for k, v in runner.model.named_parameters()}
    runner.train()
    assert torch.float16 in dtypes
    for name, value in runner.model.named_parameters():
        assert torch.isfinite(value).all(), name
    moved = [k for k, v in runner.model.named_parameters() if not torch.equal(v, before[k])]
    assert any(k.startswith('generator.') for k in moved)
    assert any(k.startswith('discriminator.') for k in moved)


def test_stylegan2_trains_in_half_precision_with_its_regularizers(gan_cfg, make_runner):
    cfg = with_amp(gan_cfg['stylegan2'](prior_norm='none'))
    runner = make_runner(
        cfg.model.to_dict(), max_iters=5, optim_wrapper=cfg.optim_wrapper.to_dict()
    )
    runner.model.sampler.set_buffer('priors', torch.randn(10, 6))
    dtypes = set()
    for module in (
        runner.model.generator.convs[0].conv,
        runner.model.discriminator.discriminator.convs[0],
    ):
        module.register_forward_hook(lambda module, args, out: dtypes.add(out.dtype))
    before = runner.model.generator.to_rgb1.bias.detach().clone()
    runner.train()
    assert dtypes == {torch.float16}
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
    assert not torch.equal(runner.model.generator.to_rgb1.bias, before)


def test_sampler_and_normalizer_give_the_same_on_every_device():
    priors = torch.rand(40, 5)
    sampler = VicinalMixSampler(num_neighbors=2)
    sampler.fit(PriorBank([f'{i}.png' for i in range(40)], priors))
    expected = sampler.sample(20, torch.Generator().manual_seed(1))
    actual = sampler.cuda().sample(20, torch.Generator().manual_seed(1))
    assert actual.device.type == 'cuda'
    torch.testing.assert_close(actual.cpu(), expected)
    for mode in ('l2', 'centered_l2', 'whitened'):
        normalizer = PriorNormalizer(5, mode)
        normalizer.fit(priors)
        expected = normalizer(priors)
        actual = normalizer.cuda()(priors.cuda()).cpu()
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('gan', ['biggan', 'sngan'])
def test_a_gan_trains_and_samples_on_the_device(gan, gan_cfg, make_runner):
    runner = make_runner(gan_cfg[gan](), max_iters=3)
    runner.train()
    runner.model.eval()
    samples = runner.model.val_step({'inputs': {'num_batches': 3}})
    assert samples[0].fake_img.device.type == 'cuda'
