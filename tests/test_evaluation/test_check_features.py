"""What no number can be had from is refused, by name."""

import pytest
import torch

from disp_plugin.evaluation.check_features import check_features
from disp_plugin.evaluation.frechet_distance import frechet_distance
from disp_plugin.evaluation.kernel_distance import kernel_distance


@pytest.mark.parametrize(
    ('features', 'message'),
    [
        (torch.zeros(1, 4), r'generated holds 1 feature\(s\), at least 2 are needed'),
        (torch.zeros(0, 4), r'generated holds 0 feature\(s\)'),
        (torch.zeros(5, 3), 'differ in width .generated 3, reference 4.'),
        (torch.zeros(5), 'generated must be floating point features .N, F., but is'),
        (torch.zeros(5, 4, dtype=torch.int64), 'int64'),
        (torch.tensor([[0.0, 1, 2, 3], [0, torch.nan, 0, 0]]), 'generated holds values that are'),
        (torch.tensor([[0.0, 1, 2, 3], [0, -torch.inf, 0, 0]]), 'generated holds values that are'),
    ],
)
@pytest.mark.parametrize('measure', [frechet_distance, kernel_distance])
def test_unfit_features_are_refused(measure, features, message):
    with pytest.raises(ValueError, match=message):
        measure(features, torch.zeros(5, 4))


def test_the_largest_finite_values_are_finite():
    largest = torch.full((3, 2), torch.finfo(torch.float32).max)
    check_features(a=largest)
    check_features(1, a=torch.ones(1, 2, dtype=torch.float16))
    with pytest.raises(ValueError, match='a holds values that are'):
        check_features(a=largest * 2)
    assert largest.isfinite().all()
