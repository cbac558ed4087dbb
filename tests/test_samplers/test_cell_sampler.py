"""Cells of priors: found by K-means, shared by both views, drawn as often as they come."""

import numpy as np
import pytest
import torch
from mmagic.structures import DataSample
from scipy import stats

from disp_plugin.priors import PriorBank
from disp_plugin.samplers import CellSampler
from tests.gans import make_gan
from tests.numerics import assert_close_to_scale

SIZES = (12, 3, 25)
TRUTH = np.random.default_rng(0).permutation(np.repeat(range(3), SIZES))


@pytest.fixture(scope='module')
def sampler():
    """Fitted to three groups of images, whose mirrored views lie in other groups."""
    priors = np.random.default_rng(1).normal(size=(40, 2, 5))
    priors += 50 * np.stack([TRUTH, (TRUTH + 1) % 3], axis=1)[..., None]
    sampler = CellSampler(3, scale=2.0)
    with pytest.raises(RuntimeError, match='CellSampler is not fitted'):
        sampler.find_priors(torch.tensor([0]))
    sampler.fit(PriorBank([f'{row:02}.png' for row in range(40)], priors.astype(np.float32)))
    return sampler


def test_cells_are_the_groups_and_both_views_have_the_vector_of_the_images_cell(sampler):
    cells = sampler.labels[:, 0]
    assert len(set(zip(cells.tolist(), TRUTH, strict=True))) == 3
    assert sorted(sampler.counts.tolist()) == sorted(SIZES)
    rows = torch.tensor([5, 0, 39])
    upright = sampler.find_priors(rows, [False] * 3)
    assert torch.equal(upright, torch.eye(3)[cells[rows]] * 2)
    assert torch.equal(sampler.find_priors(rows, [True] * 3), upright)
    with pytest.raises(ValueError, match='knows 40 training images, but image 40 came'):
        sampler.find_priors(torch.tensor([40]))


def test_new_priors_are_unmixed_and_as_frequent_as_their_cells(sampler):
    drawn = sampler.sample(4000, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.sort(dim=1).values, torch.tensor([0.0, 0.0, 2.0]).expand(4000, 3))
    expected = sampler.counts / sampler.counts.sum() * 4000
    assert stats.chisquare(drawn.argmax(1).bincount(minlength=3), expected).pvalue > 1e-3
    assert torch.equal(drawn, sampler.sample(4000, torch.Generator().manual_seed(0)))


def test_every_cell_is_used_though_priors_are_equal():
    bank = PriorBank([f'{row}.png' for row in range(6)], np.ones((6, 1, 4), np.float32))
    sampler = CellSampler(4)
    with pytest.warns(match='distinct clusters'):
        sampler.fit(bank)
    assert set(sampler.labels.flatten().tolist()) == {0, 1, 2, 3}
    with pytest.raises(ValueError, match='cannot find 7 cells of 6 images; set model.prior_dim to'):
        CellSampler(7).fit(bank)


@pytest.mark.parametrize('name', ['sngan', 'biggan', 'stylegan2'])
def test_the_condition_is_an_embedding_of_the_cell(name, sampler):
    gan = make_gan(name, prior_dim=3, per_image=True, sampler=dict(type='CellSampler'))
    gan.sampler.load_state_dict(sampler.state_dict())  # a checkpoint has the cells
    rows = [7, 3, 20, 0]
    batch = DataSample.stack([DataSample() for _ in rows])
    batch.set_field(rows, 'sample_idx', field_type='metainfo')
    prior = gan.data_sample_to_prior(batch)
    for network in (gan.generator, gan.discriminator):
        first = network.eval().prior_projection[0]
        with torch.no_grad():
            weight = first(torch.eye(3))  # as the layer normalizes it
            embedding = torch.nn.Embedding.from_pretrained(weight)
            assert_close_to_scale(first(prior), embedding(sampler.labels[rows, 0]))
