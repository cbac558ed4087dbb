"""``np.bool8``, which NumPy 2 has removed, for the one module of mmagic that names it.

Symptom: ``import mmagic.utils`` dies with "module 'numpy' has no attribute 'bool8'" on NumPy 2.
Cause: mmagic/utils/trans_utils.py:376 uses the alias as a key of a table at import time.
Upstream: https://github.com/open-mmlab/mmagic (1.2.0); NumPy 2.0 release notes, "Removed
members".
Delete when: mmagic no longer names ``np.bool8``.

The alias lives only while that module is executed, so that other libraries see NumPy as it is.
"""

import warnings

from disp_plugin.upstream.repair import Repair


def is_needed() -> bool:
    """Tell whether the installed NumPy lacks ``bool8``."""
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # NumPy 1.24 to 1.26 have it, with a DeprecationWarning
        return not hasattr(np, 'bool8')


def apply() -> None:
    """Lend NumPy the alias."""
    import numpy as np

    np.bool8 = np.bool_  # type: ignore[attr-defined]


def undo() -> None:
    """Take the alias away again."""
    import numpy as np

    vars(np).pop('bool8', None)


REPAIR = Repair(
    name='numpy-bool8',
    module='mmagic.utils.trans_utils',
    summary='mmagic does not import on NumPy 2: np.bool8 is gone',
    until='mmagic no longer names np.bool8',
    is_needed=is_needed,
    apply=apply,
    moment='before',
    undo=undo,
)
