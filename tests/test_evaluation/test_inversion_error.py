"""IvOM against its definition."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from disp_plugin.evaluation.inversion_error import inversion_error


def test_it_is_the_mean_of_each_querys_smallest_error_with_its_standard_error(rng):
    losses = rng(0).random((20, 7))
    found = inversion_error(torch.from_numpy(losses).float())
    smallest = [min(losses[step, query] for step in range(20)) for query in range(7)]
    assert math.isclose(found.value, np.mean(smallest), rel_tol=1e-6)
    assert math.isclose(found.standard_deviation, stats.sem(smallest), rel_tol=1e-6)
    assert not math.isclose(found.value, losses[-1].mean(), rel_tol=0.1)


def test_steps_that_diverged_do_not_count():
    losses = torch.tensor([[0.5, 0.25], [math.nan, 0.75], [math.inf, math.nan]])
    assert inversion_error(losses).value == 0.375


def test_one_query_has_no_standard_error():
    assert inversion_error(torch.tensor([[0.5], [0.25]])) == (0.25, None)


@pytest.mark.parametrize(
    ('losses', 'message'),
    [
        (torch.zeros(3, 0), r'both at least 1, but are \(3, 0\)'),
        (torch.zeros(3), r'must be \(steps \+ 1, queries\)'),
        (torch.tensor([[0.5, math.nan], [0.5, math.nan]]), '1 of 2 queries'),
    ],
)
def test_what_has_no_mean_is_refused(losses, message):
    with pytest.raises(ValueError, match=message):
        inversion_error(losses)
