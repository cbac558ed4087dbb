"""IMLE reaches what it is fitted to; drawing is the trained network's evaluation."""

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from torch import nn

from disp_plugin.priors import PriorBank
from disp_plugin.samplers import IMLESampler
from disp_plugin.samplers.imle_sampler import find_nearest
from tests.numerics import assert_close_to_scale


def make_bank(points):
    return PriorBank([f'{row:03d}' for row in range(len(points))], points[:, None])


def mix(num, spread=0.05):
    """Points around four corners of a square, ``num`` at each."""
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    return corners, corners.repeat(num, 1) + spread * torch.randn(4 * num, 2)


def test_every_mode_is_reached_where_one_gaussian_misses_them():
    corners, points = mix(25)
    sampler = IMLESampler(noise_size=4, width=32, num_epochs=300, lr=1e-2)
    sampler.fit(make_bank(points))
    drawn = sampler.sample(1000, torch.Generator().manual_seed(0))
    gaussian = torch.distributions.MultivariateNormal(points.mean(0), points.T.cov())
    shares = []
    for samples in (drawn, gaussian.sample((1000,))):
        distance = torch.cdist(samples, corners)
        near = distance.min(1).values < 0.3
        shares.append(near.float().mean())
        if samples is drawn:
            counts = torch.bincount(distance.argmin(1)[near], minlength=4)
            assert counts.min() > 20
    # of the Gaussian about pi 0.3^2 of a density of exp(-1) / (2 pi) at each of four corners
    assert shares[0] > 2 * shares[1] and 0.02 < shares[1] < 0.12


@pytest.mark.parametrize(('num', 'batch_size'), [(7, 128), (2, 2), (9, 4)])
def test_fewer_points_than_a_batch_and_what_does_not_fill_one(num, batch_size):
    sampler = IMLESampler(num_epochs=2, batch_size=batch_size)
    sampler.fit(make_bank(torch.randn(num, 5)))
    assert sampler.sample(3).shape == (3, 5) and sampler.sample(3).isfinite().all()


def test_the_nearest_is_that_of_brute_force():
    points, candidates = torch.randn(50, 6), torch.randn(80, 6)
    table = np.square(points.double().numpy()[:, None] - candidates.double().numpy()).sum(2)
    assert find_nearest(points, candidates, rows=7).tolist() == table.argmin(1).tolist()


def test_a_fit_follows_from_its_seed_and_draws_nothing_else():
    bank = make_bank(torch.randn(20, 5))
    fits, state = [], torch.get_rng_state()
    for seed, shift in ((0, 0), (0, 9), (1, 0)):
        torch.set_rng_state(state)
        torch.rand(shift)
        before = torch.get_rng_state()
        sampler = IMLESampler(num_epochs=3, seed=seed)
        with torch.no_grad():  # as in mmengine's validation loop
            sampler.fit(bank)
        assert torch.equal(torch.get_rng_state(), before)
        fits.append(sampler.sample(4, torch.Generator().manual_seed(0)))
    assert torch.equal(fits[0], fits[1]) and not torch.equal(fits[0], fits[2])


@torch.no_grad()
def test_what_is_drawn_is_what_the_trained_network_evaluates_to(monkeypatch):
    networks, train = [], IMLESampler._train
    monkeypatch.setattr(
        IMLESampler, '_train', lambda *args: networks.append(train(*args)) or networks[-1]
    )
    sampler = IMLESampler(num_epochs=3)
    sampler.fit(make_bank(torch.randn(20, 5)))
    network = networks[0][0].eval()
    kinds = [type(part) for part in network]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
    linears = [part for part in network if isinstance(part, nn.Linear)]
    assert [part.weight.shape for part in linears] == [(128, 32), (128, 128), (5, 128)]
    assert all(part.bias is None for part in linears)
    noise = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    drawn = sampler.sample(6, torch.Generator().manual_seed(0))
    assert_close_to_scale(drawn, network.double()(noise.double()).float())


def test_all_of_it_is_in_the_state_and_can_be_forgotten():
    sampler = MODELS.build(dict(type='IMLESampler', num_epochs=1))
    assert not sampler.is_fitted and sampler.fits_late and not list(sampler.parameters())
    sampler.fit(make_bank(torch.randn(5, 3)))
    copy = IMLESampler()
    copy.load_state_dict(sampler.state_dict())
    draws = [each.sample(4, torch.Generator().manual_seed(0)) for each in (sampler, copy)]
    assert torch.equal(*draws)
    sampler.forget()
    assert not sampler.is_fitted


def test_mistakes_are_told():
    with pytest.raises(ValueError, match='but got 32, 128, 0 and 128'):
        IMLESampler(num_epochs=0)
    with pytest.raises(ValueError, match='needs 2 points or more'):
        IMLESampler().fit(make_bank(torch.randn(1, 3)))
    with pytest.raises(ValueError, match='diverges with lr=1e[+]38; set model.sampler.lr lower'):
        IMLESampler(num_epochs=3, lr=1e38).fit(make_bank(torch.randn(8, 3)))
