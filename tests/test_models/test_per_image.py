"""The baseline of one embedding for each training image: rows of two matrices, no bank."""

import pytest
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample

import disp_plugin.register  # noqa: F401
from tests.numerics import assert_close_to_scale

NUM = 7


def build(**changes):
    return MODELS.build(
        dict(
            type='DISPSNGAN',
            prior_dim=NUM,
            image_size=32,
            per_image=True,
            per_image_scale=3.0,
            sampler=dict(type='PerImageSampler'),
            generator=dict(type='DISPSNGANGenerator', base_channels=4, noise_size=8),
            discriminator=dict(
                type='PriorProjectionDiscriminator',
                discriminator=dict(type='ProjDiscriminator', base_channels=4),
            ),
            data_preprocessor=dict(type='DataPreprocessor'),
        )
        | changes
    )


def batch(rows):
    samples = [
        DataSample(gt_img=torch.rand(3, 32, 32), metainfo=dict(sample_idx=row)) for row in rows
    ]
    return DataSample.stack(samples)


def test_the_condition_of_an_image_is_its_column_of_the_projections():
    gan = build()
    prior = gan.data_sample_to_prior(batch([2, 0, 2]))
    assert prior.shape == (3, NUM) and prior.sum() == 9
    for projection in (gan.generator.prior_projection, gan.discriminator.prior_projection):
        projection.eval()
        embedding = torch.nn.Embedding(NUM, projection.out_dim)
        with torch.no_grad():
            projection(prior)  # spectral norm sets the weight
            embedding.weight.copy_(projection[0].weight.T * 3)
            assert torch.equal(projection(prior), embedding(torch.tensor([2, 0, 2])))


def test_new_conditions_mix_two_rows_of_the_same_length_and_need_no_bank():
    gan = build()
    noise, prior = gan.draw_latents(200, torch.Generator().manual_seed(0))
    assert noise.shape == (200, 8) and prior.shape == (200, NUM)
    assert ((prior > 0).sum(dim=1) <= 2).all() and ((prior > 0).sum(dim=1) == 2).any()
    assert_close_to_scale(prior.sum(dim=1), torch.full((200,), 3.0))
    again = gan.draw_latents(200, torch.Generator().manual_seed(0))
    assert torch.equal(again.prior, prior) and torch.equal(again.noise, noise)
    state = {name for name in gan.state_dict() if name.startswith('sampler')}
    assert state == {'sampler.num_rows'}


def test_more_images_than_embeddings_are_refused():
    with pytest.raises(ValueError, match=r'prior_dim=7, but image 7 came; set prior_dim'):
        build().data_sample_to_prior(batch([1, 7]))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(prior_norm='centered_l2'), "per_image=True takes 'none' or 'l2' only"),
        (dict(prior_dim=None), 'the number of training images where per_image=True'),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)
