"""A warning against every evaluator that is not called 'Evaluator'.

Symptom: a run with a subclass of mmagic's Evaluator is told "we strongly recommend you to use
'Evaluator' provided by MMagic. Otherwise, there maybe some potential bugs".
Cause: mmagic/engine/runner/loop_utils.py:26 and :42 compare names of classes.
Upstream: https://github.com/open-mmlab/mmagic (1.2.0).
Delete when: loop_utils.py asks whether the class is a child of mmagic's Evaluator.
"""

from collections.abc import Callable

from disp_plugin.upstream.patch import Patch, host_module, rebind

MODULE = 'mmagic.engine.runner.loop_utils'


def apply() -> None:
    """Let children of mmagic's evaluator pass as they are."""
    check: Callable[[object], object] = host_module(MODULE).update_and_check_evaluator

    def update_and_check_evaluator(evaluator: object) -> object:
        """Warn of evaluators that are no children of mmagic's."""
        return evaluator if _is_child(evaluator) else check(evaluator)

    rebind(check, update_and_check_evaluator)


def _is_child(evaluator: object) -> bool:
    from mmagic.evaluation.evaluator import Evaluator
    from mmagic.registry import EVALUATORS

    if not isinstance(evaluator, dict):
        return isinstance(evaluator, Evaluator)
    kind = evaluator.get('type')
    kind = EVALUATORS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, Evaluator) and 'metrics' in evaluator


PATCHES = (
    Patch(
        name='evaluator-warning',
        module=MODULE,
        summary='mmagic warns of every evaluator that is not called Evaluator',
        apply=apply,
    ),
)
