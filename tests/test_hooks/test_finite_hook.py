"""Training stops at what stays NaN, and keeps the last finite snapshot."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from disp_plugin.hooks import FiniteHook
from tests.test_hooks.tiny_runs import EMA_BATCH_NORM, gan_cfg, load, snapshot

FINITE = dict(type='FiniteHook')
NAN = float('nan')


def spoil(runner, part, at):
    """Make a weight of a part NaN in the step of an iteration."""
    step = runner.model.train_step

    def train_step(*args, **kwargs):
        outputs = step(*args, **kwargs)
        if runner.iter + 1 == at:
            next(getattr(runner.model, part).parameters()).data.view(-1)[0] = NAN
        return outputs

    runner.model.train_step = train_step
    return runner


@pytest.mark.parametrize('name', ['sngan', 'biggan', 'stylegan2'])
@pytest.mark.parametrize('part', ['generator', 'generator_ema', 'discriminator'])
def test_the_last_finite_snapshot_outlives_weights_that_become_nan(make, name, part):
    # mmengine removes the oldest snapshot before it writes a new one
    runner = make(name, 4, hooks=[FINITE, EMA_BATCH_NORM], checkpoint=dict(max_keep_ckpts=1))
    with pytest.raises(ValueError, match=rf'iteration 3: (generator|{part})\w* is not f') as stop:
        spoil(runner, part, 3).train()
    assert f'the last finite snapshot is {snapshot(runner, 2)}' in str(stop.value)
    assert sorted(path.name for path in Path(runner.work_dir).glob('*.pth')) == ['iter_2.pth']
    assert all(value.isfinite().all() for value in load(runner, 2)['state_dict'].values())


def test_a_loss_that_stays_nan_stops_a_run_between_its_snapshots(make):
    hook = dict(FINITE, patience=3)
    runner = make(max_iters=9, hooks=[hook], checkpoint=dict(interval=100))
    runner.hooks[[type(h).__name__ for h in runner.hooks].index('LoggerHook')].interval = 1
    with pytest.raises(ValueError, match=r'iteration 5: loss\w* is not finite 3 times in a row'):
        spoil(runner, 'generator', 2).train()


def test_a_loss_that_is_nan_now_and_then_stops_nothing(make):
    hook = FiniteHook(patience=3)
    runner = make()
    for value in (NAN, NAN, 1.0, NAN, float('inf')):
        runner.message_hub.update_scalar('train/loss_disc', value)
    hook._check_losses(runner)
    runner.message_hub.update_scalar('train/loss_disc', NAN)
    with pytest.raises(ValueError, match='weights are finite.*no snapshot was saved yet'):
        hook._check_losses(runner)


@pytest.mark.parametrize(('scale', 'stops'), [(2.0**-10, False), (2.0**-30, True)])
def test_steps_skipped_by_mixed_precision_stop_a_run_only_if_they_do_not_end(make, scale, stops):
    runner = make()
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.optim_wrapper['discriminator'].loss_scaler = SimpleNamespace(get_scale=lambda: scale)
    if not stops:
        FiniteHook()._check_losses(runner)
        return
    with pytest.raises(ValueError, match='gradients of discriminator stay non-finite'):
        FiniteHook()._check_losses(runner)


def test_no_hook_can_write_a_snapshot_that_is_not_finite(make):
    runner = make(max_iters=1, hooks=[FINITE])
    runner.train()
    next(runner.model.discriminator.parameters()).data.view(-1)[0] = float('inf')
    with pytest.raises(ValueError, match='discriminator is not finite: NaN or infinite in 1 of'):
        runner.save_checkpoint(runner.work_dir, 'other.pth')
    assert not Path(runner.work_dir, 'other.pth').exists()


@pytest.mark.parametrize('place', ['weights', 'optimizer'])
def test_a_snapshot_that_is_not_finite_is_not_resumed_from(train, make, place, tmp_path):
    content = load(train(max_iters=1), 1)
    moments = content['optimizer']['discriminator']['state'][0]['exp_avg']
    state = content['state_dict']
    weights = next(v for k, v in state.items() if k.startswith('generator_ema.') and v.dim() > 1)
    (weights if place == 'weights' else moments).view(-1)[0] = NAN
    torch.save(content, tmp_path / 'bad.pth')
    runner = make(max_iters=2, hooks=[FINITE], resume_from=tmp_path / 'bad.pth')
    named = 'generator_ema' if place == 'weights' else 'optimizer'
    with pytest.raises(ValueError, match=rf'bad.pth cannot be used: {named} is not finite'):
        runner.train()


def test_the_check_changes_no_bit_of_a_run(train):
    plain, checked = train('plain', 2), train(gan_cfg('plain'), 2, hooks=[FINITE])
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, checked.model.state_dict()[name]), name
