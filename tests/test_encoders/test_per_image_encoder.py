"""The few-shot baseline's priors are rows of a scaled identity."""

import pytest
import torch

from disp_plugin.encoders import PerImageEncoder


def test_a_prior_is_the_row_of_a_scaled_identity():
    encoder = PerImageEncoder(num_images=5, scale=3.0)
    rows = torch.tensor([4, 0, 4])
    assert torch.equal(encoder.encode(torch.rand(3, 3, 8, 8), rows), 3 * torch.eye(5)[rows])
    assert encoder.prior_dim == 5


def test_an_unseen_image_is_refused():
    with pytest.raises(ValueError, match='an unseen image has no one-hot prior'):
        PerImageEncoder(5)(torch.rand(1, 3, 8, 8))


def test_a_row_beyond_the_images_is_refused():
    with pytest.raises(ValueError, match='num_images=5, but was asked for row 5; set num_images'):
        PerImageEncoder(5).encode(torch.rand(1, 3, 8, 8), torch.tensor([5]))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_images=0), 'num_images must be at least 1, but is 0'),
        (dict(num_images=2, scale=0), 'scale must be positive, but is 0'),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PerImageEncoder(**options)


def test_number_and_scale_are_in_the_fingerprint():
    prints = {PerImageEncoder(n, s).fingerprint() for n, s in [(5, 1), (6, 1), (5, 2)]}
    assert len(prints) == 3
