"""LeCam: its formula, its averages, its start, and that it changes nothing without weight."""

import pytest
import torch

from disp_plugin.cli.config import load_config
from disp_plugin.techniques import LeCamLoss
from tests.gans import ALL, assert_same_steps, make_gan, train_gan
from tests.numerics import assert_close_to_scale


def lecam(**options):
    return dict(lecam=dict(type='LeCamLoss', **options))


def test_loss_and_averages_are_their_formula():
    loss = LeCamLoss(loss_weight=0.3, start=3, decay=0.9).double()
    batches = [torch.randn(2, 32, 1).double() for _ in range(6)]
    real_average = fake_average = 0.0
    for step, (real, fake) in enumerate(batches):
        found = loss(dict(disc_pred_real=real, disc_pred_fake=fake, step=step))
        # iterations count from 1 in the published code: decay from 3 on, the loss after 3
        decay = 0.9 if step + 1 >= 3 else 0.0
        real_average = decay * real_average + (1 - decay) * real.mean().item()
        fake_average = decay * fake_average + (1 - decay) * fake.mean().item()
        assert (found is not None) == (step + 1 > 3)
        if found is not None:
            pulled = [max(0.0, score - fake_average) ** 2 for score in real.flatten().tolist()]
            pushed = [max(0.0, real_average - score) ** 2 for score in fake.flatten().tolist()]
            expected = torch.tensor(0.3 * (sum(pulled) + sum(pushed)) / 32, dtype=torch.float64)
            assert_close_to_scale(found, expected)


@pytest.mark.parametrize('name', ALL)
def test_every_gan_takes_it_and_learns_by_it(name):
    trained = []
    for options in (dict(disc_losses=lecam(start=1)), {}):
        gan = make_gan(name, **options)
        torch.manual_seed(1)
        logs = train_gan(gan, 2)
        trained.append(dict(gan.discriminator.named_parameters()))
        assert [('loss_lecam' in log) for log in logs] == [False, bool(options)]
        assert not options or gan.disc_auxiliary_losses[-1].mean_real.any()
    assert any(not torch.equal(value, trained[1][key]) for key, value in trained[0].items())


def test_without_weight_the_step_is_the_baselines():
    plain, ours = make_gan('sngan'), make_gan('sngan', disc_losses=lecam(loss_weight=0.0, start=0))
    assert_same_steps(plain, ours)
    assert not ours.disc_auxiliary_losses[0].mean_real.any()


def test_an_overflow_spoils_no_average():
    loss = LeCamLoss(start=0)
    scores = dict(disc_pred_real=torch.ones(2, 1), disc_pred_fake=-torch.ones(2, 1), step=0)
    loss(scores)
    before = loss.mean_real.clone()
    loss({**scores, 'disc_pred_real': torch.full((2, 1), torch.inf)})
    assert torch.equal(loss.mean_real, before) and before > 0


def test_wrong_numbers_are_refused():
    for options in (dict(start=-1), dict(decay=1.0)):
        with pytest.raises(ValueError, match='start must be 0 or more'):
            LeCamLoss(**options)


def test_the_technique_has_the_published_numbers(repo_root):
    cfg = load_config(repo_root / 'configs/disp_sngan_digits.py', techniques=['lecam'])
    loss = cfg.model.disc_losses.lecam
    assert (loss.loss_weight, loss.start, loss.decay) == (0.3, 1000, 0.9)
