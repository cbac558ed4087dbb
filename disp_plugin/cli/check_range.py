"""Numbers of the command line within their ranges, named as the user gave them."""

from argparse import Namespace

__all__ = ['LARGEST_SEED', 'check_range']

LARGEST_SEED = 2**32 - 1
"""The largest seed that torch, NumPy and scikit-learn all take."""


def check_range(args: Namespace, **least: int) -> None:
    """Refuse numbers of the command line that are out of range; a seed has a largest value too.

    Args:
        args (Namespace): What was given.
        **least (int): For each argument, by its name in ``args``, the smallest value.

    Raises:
        ValueError: One is out of range; the option is named.
    """
    for name, low in least.items():
        value, option = getattr(args, name), '--' + name.replace('_', '-')
        if value < low:
            raise ValueError(f'{option} must be at least {low}, but is {value}')
        if name == 'seed' and value > LARGEST_SEED:
            raise ValueError(f'--seed must be at most {LARGEST_SEED}, but is {value}')
