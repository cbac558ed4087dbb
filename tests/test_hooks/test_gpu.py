"""What only a CUDA device can show; skipped where there is none."""

import pytest
import torch
from mmengine.config import Config

from disp_plugin.cli.prepare_run import set_precision
from disp_plugin.models import PriorNormalizer
from disp_plugin.priors import PriorBank
from disp_plugin.samplers import VicinalMixSampler
from tests.numerics import assert_close_to_scale
from tests.test_hooks.tiny_runs import EMA_BATCH_NORM, gan_cfg, run_cfg, visualization

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
]


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
@pytest.mark.parametrize('name', ['biggan', 'sngan', 'stylegan2'])
def test_mixed_precision_really_acts_and_trains(name, precision, make):
    """StyleGAN2 with its regularizers, the others with hooks that sample."""
    steps = {} if name == 'stylegan2' else dict(discriminator_steps=1)
    model = gan_cfg(name, prior_norm='none', **steps)
    cfg = Config(run_cfg('', '', model, '', 0))
    set_precision(cfg, precision)
    hooks = [] if name == 'stylegan2' else [EMA_BATCH_NORM, visualization(2)]
    options = dict(optim_wrapper=cfg.optim_wrapper.to_dict(), hooks=hooks)
    runner = make(cfg.model.to_dict(), 5, **options)
    gan = runner.model
    dtypes = {}
    for part in (gan.generator, gan.discriminator):
        convs = [m for m in part.modules() if 'Conv2d' in type(m).__name__]
        convs[len(convs) // 2].register_forward_hook(
            lambda module, args, out: dtypes.setdefault(module, out.dtype)
        )
    before = {name: value.detach().clone() for name, value in gan.named_parameters()}
    runner.train()
    assert list(dtypes.values()) == [getattr(torch, precision)] * 2
    assert all(value.isfinite().all() for value in gan.state_dict().values())
    moved = {k.split('.')[0] for k, v in gan.named_parameters() if not torch.equal(v, before[k])}
    assert moved >= {'generator', 'discriminator'}


def test_sampler_and_normalizer_give_the_same_on_every_device():
    priors = torch.rand(40, 5)
    sampler = VicinalMixSampler(num_neighbors=2)
    sampler.fit(PriorBank([f'{i}.png' for i in range(40)], priors))
    expected = sampler.sample(20, torch.Generator().manual_seed(1))
    actual = sampler.cuda().sample(20, torch.Generator().manual_seed(1))
    assert actual.device.type == 'cuda'
    assert_close_to_scale(actual.cpu(), expected)
    for mode in ('l2', 'centered_l2', 'whitened'):
        normalizer = PriorNormalizer(5, mode)
        normalizer.fit(priors)
        expected = normalizer(priors)
        assert_close_to_scale(normalizer.cuda()(priors.cuda()).cpu(), expected)


@pytest.mark.parametrize('name', ['biggan', 'sngan'])
def test_a_gan_trains_and_samples_on_the_device(name, train):
    gan = train(name, 3).model.eval()
    samples = gan.val_step({'inputs': {'num_batches': 3}})
    assert samples[0].fake_img.device.type == 'cuda'
