"""A number out of range is refused by the name of its option."""

from argparse import Namespace

import pytest

from disp_plugin.cli.check_range import check_range


def test_the_option_its_bound_and_the_value_are_named():
    check_range(Namespace(num_pairs=2, seed=2**32 - 1), num_pairs=2, seed=0)
    with pytest.raises(ValueError, match=r'^--num-pairs must be at least 2, but is 1$'):
        check_range(Namespace(num_pairs=1), num_pairs=2)
    with pytest.raises(ValueError, match=r'^--seed must be at least 0, but is -1$'):
        check_range(Namespace(seed=-1), seed=0)
    with pytest.raises(ValueError, match=r'^--seed must be at most 4294967295, but is 4294967296$'):
        check_range(Namespace(seed=2**32), seed=0)
