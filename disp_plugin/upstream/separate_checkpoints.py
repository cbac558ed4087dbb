"""Checkpoints of distributed GAN training.

Symptom: a checkpoint that several processes wrote cannot be used again. Resuming prints
"The model and loaded state dict do not match exactly" and goes on with random weights of G and D
(optimizers and moving average are restored); a single process does not find the weights either.
Cause: mmengine/model/wrappers/seperate_distributed.py:67 wraps each network by itself, so that
their weights are called ``generator.module.*``; mmengine/runner/runner.py:2233 saves these names,
but mmengine/runner/checkpoint.py:80 looks for the names without wrappers.
Upstream: https://github.com/open-mmlab/mmengine (0.10.7).
Delete when: mmengine saves ``get_state_dict(model)`` in the place of ``model.state_dict()``.
"""

from collections.abc import Callable
from typing import Any

from disp_plugin.upstream.repair import Repair, host_module

MODULE = 'mmengine.model.wrappers.seperate_distributed'


def apply() -> None:
    """Let a model whose networks are wrapped name its weights as if they were not."""
    wrapper: Any = host_module(MODULE).MMSeparateDistributedDataParallel
    init: Callable[..., None] = wrapper.__init__

    def __init__(self: Any, module: Any, *args: Any, **kwargs: Any) -> None:
        init(self, module, *args, **kwargs)
        module._register_state_dict_hook(_name_without_wrappers)

    wrapper.__init__ = __init__


def _name_without_wrappers(model: Any, state_dict: Any, prefix: str, *_: Any) -> None:
    from torch.nn.parallel import DistributedDataParallel

    wrapped = [
        f'{prefix}{name}.'
        for name, network in model.named_children()
        if isinstance(network, DistributedDataParallel)
    ]
    for names in (state_dict, getattr(state_dict, '_metadata', {})):
        # All entries are put back, so that their order stays.
        for key in list(names):
            value = names.pop(key)
            names[_without_wrapper(key, wrapped)] = value


def _without_wrapper(key: str, wrapped: list[str]) -> str:
    for name in wrapped:
        inner = f'{name}module'
        if key == inner:
            return name[:-1]
        if key.startswith(f'{inner}.'):
            return name + key[len(inner) + 1 :]
    return key


REPAIR = Repair(
    name='separate-checkpoints',
    module=MODULE,
    summary='a checkpoint of distributed GAN training is resumed with random weights',
    until='mmengine saves the weights of separately wrapped networks without their wrappers',
    is_needed=lambda: True,
    apply=apply,
)
