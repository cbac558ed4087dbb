"""``betas=(0, 0.99)`` in mmagic's configs.

Symptom: building the optimizer of 26 stock configs dies with "betas must be either both floats or
both Tensors" on current torch.
Cause: torch/optim/adam.py checks the type; the configs write an integer 0.
Upstream: https://github.com/open-mmlab/mmagic (1.2.0), for example configs/biggan and
configs/stylegan2.
Delete when: mmagic's configs write 0.0.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from disp_plugin.upstream.patch import Patch, host_module

if TYPE_CHECKING:
    from mmengine.registry import Registry


def is_needed() -> bool:
    """Tell whether torch's Adam refuses an integer beta."""
    import torch

    try:
        torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], betas=(0, 0.99))
    except ValueError:
        return True
    return False


def apply() -> None:
    """Write integer betas as floats where mmengine builds an optimizer from its config."""
    _patch_registry(host_module('mmengine.registry.root').OPTIMIZERS)


def _patch_registry(registry: 'Registry') -> None:
    build: Callable[..., object] = registry.build_func

    def build_optimizer(cfg: object, *args: object, **kwargs: object) -> object:
        betas = cfg.get('betas') if isinstance(cfg, dict) else None
        if isinstance(cfg, dict) and isinstance(betas, tuple | list):
            cfg = cfg.copy()
            cfg['betas'] = tuple(float(beta) if type(beta) is int else beta for beta in betas)
        return build(cfg, *args, **kwargs)

    registry.build_func = build_optimizer
    # registries that inherit the function took a copy of it when they were made
    for child in registry.children.values():
        if child.build_func is build:
            _patch_registry(child)


PATCHES = (
    Patch(
        name='integer-betas',
        module='mmengine.optim.optimizer.builder',  # the registries are imported with configs
        summary='26 of mmagic\'s configs do not train: "betas must be either both floats or ..."',
        apply=apply,
        is_needed=is_needed,
    ),
)
