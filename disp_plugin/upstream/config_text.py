"""The text of a config, laid out anew for each log, each visualizer and each checkpoint.

Symptom: a run starts seconds later than it could, and each checkpoint takes a second longer.
Cause: mmengine/config/config.py:1484 lays the text out by yapf, a second for a GAN's config, and
remembers nothing.
Upstream: https://github.com/open-mmlab/mmengine (0.10.7).
Delete when: mmengine remembers the text of an unchanged config.
"""

from collections.abc import Callable
from typing import Any

from disp_plugin.upstream.repair import Repair, host_module

MODULE = 'mmengine.config.config'
MAX_TEXTS = 8


def apply() -> None:
    """Remember the last few texts that were laid out."""
    host: Any = host_module(MODULE)
    lay_out: Callable[..., tuple[str, bool]] = host.FormatCode
    if hasattr(lay_out, 'texts'):
        return
    texts: dict[str, tuple[str, bool]] = {}

    def remember(unformatted: str, **options: Any) -> tuple[str, bool]:
        """Lay out, as yapf does; the same text is laid out once."""
        key = f'{sorted(options.items(), key=str)}\n{unformatted}'
        if key not in texts:
            while len(texts) >= MAX_TEXTS:
                texts.pop(next(iter(texts)))
            texts[key] = lay_out(unformatted, **options)
        return texts[key]

    remember.texts = texts  # type: ignore[attr-defined]
    host.FormatCode = remember


REPAIR = Repair(
    name='config-text',
    module=MODULE,
    summary='each checkpoint and each log waits a second for the layout of the config',
    until='mmengine remembers the text of an unchanged config',
    is_needed=lambda: True,
    apply=apply,
)
