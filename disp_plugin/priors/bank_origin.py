"""What a bank was made from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class BankOrigin:
    """What a bank was made from, so that a run which does not match it can be told what differs.

    Attributes:
        encoder (dict[str, str]): ``describe()`` of the encoder.
        encoder_fingerprint (str): Its ``fingerprint()``.
        encoder_config (dict | None): The config that it was built from, where there was one.
        pipeline (list[dict]): The steps that made the encoder's input out of a file.
        dataset_fingerprint (str): Hash of image keys, file sizes and those steps.
        precision (str): Arithmetic of the forward: float32, or the type of autocast.
    """

    encoder: dict[str, str] = field(default_factory=dict)
    encoder_fingerprint: str = ''
    encoder_config: dict[str, Any] | None = None
    pipeline: list[dict[str, Any]] = field(default_factory=list)
    dataset_fingerprint: str = ''
    precision: str = 'float32'

    def to_json(self) -> str:
        """Write the origin as JSON, the same text for the same origin."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> BankOrigin:
        """Read what ``to_json`` wrote, skipping what a later version may have added.

        Args:
            text (str): JSON.

        Returns:
            BankOrigin: The origin.
        """
        known = cls.__dataclass_fields__
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})
