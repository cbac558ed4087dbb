"""A number and how far chance moves it."""

from typing import NamedTuple


class Estimate(NamedTuple):
    """A measured value with its standard deviation.

    Attributes:
        value (float): What was measured.
        standard_deviation (float | None): How far another draw of the samples would move it; None
            where that is not known.
    """

    value: float
    standard_deviation: float | None = None
