"""What a metric's name says: the name is the protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATTERN = re.compile(
    r'(?P<metric>fid_floor|fid_inverted|fid|kid_floor|kid|precision|recall|density|coverage'
    r'|copying|ivom|disc_gap_in_sd|disc_gap)'
    r'(?P<count>\d{1,9}k?)?(?:_k(?P<k>\d{1,9}))?_(?P<split>[^_/\s]+)(?:_(?P<space>[^/\s]+))?'
)

_ORDER = (
    *('fid', 'fid_floor', 'kid', 'kid_floor', 'copying', 'precision', 'recall', 'density'),
    *('coverage', 'disc_gap', 'disc_gap_in_sd', 'ivom', 'fid_inverted'),
)


@dataclass(frozen=True)
class MetricName:
    """The parts of a name such as ``precision10k_k3_test_clean``.

    Attributes:
        metric (str): What is measured, such as 'precision'.
        count (int | None): Number of generated images; None where the name has none.
        k (int | None): Which nearest neighbor; None where the name has none.
        split (str): The reference images, such as 'test'.
        space (str | None): Where features come from, such as 'clean'; None for D's scores.
    """

    metric: str
    count: int | None
    k: int | None
    split: str
    space: str | None

    @property
    def rank(self) -> int:
        """int: Place in a list of numbers: what to look at first is first."""
        return _ORDER.index(self.metric)

    @classmethod
    def parse(cls, name: str) -> MetricName | None:
        """Take a name apart.

        Args:
            name (str): Name of a metric; what stands before its last slash is left out.

        Returns:
            MetricName | None: Its parts; None for a name that is no metric of this package.
        """
        match = _PATTERN.fullmatch(name.rsplit('/', 1)[-1])
        if match is None:
            return None
        count, k = match['count'], match['k']
        return cls(
            metric=match['metric'],
            count=int(count.replace('k', '000')) if count else None,
            k=int(k) if k else None,
            split=match['split'],
            space=match['space'],
        )
