"""The second derivative of grid_sample, which R1 through ADA's geometry needs.

Symptom: R1 through any geometric augmentation of ADA dies with "derivative for
aten::grid_sampler_2d_backward is not implemented"; each augmentation warns besides.
Cause: mmagic/models/editors/stylegan2/ada/grid_sample_gradfix.py:44-54 takes its own differentiable
version on torch 1.5 to 1.10 only, for an operator whose arguments have changed since.
Upstream: https://github.com/open-mmlab/mmagic (1.2.0).
Delete when: ``torch.nn.functional.grid_sample`` is twice differentiable.
"""

import importlib
from typing import Any

from disp_plugin.upstream.repair import Repair, host_module, rebind

MODULE = 'mmagic.models.editors.stylegan2.ada.grid_sample_gradfix'


def is_needed() -> bool:
    """Tell whether mmagic leaves the sampling to torch."""
    module: Any = host_module(MODULE)
    return '_should_use_custom_op' in module.grid_sample.__code__.co_names


def apply() -> None:
    """Put our grid_sample in the place of mmagic's."""
    sampling = importlib.import_module('disp_plugin.upstream.operators.grid_sampling')
    module: Any = host_module(MODULE)
    rebind(module.grid_sample, sampling.grid_sample)


REPAIR = Repair(
    name='ada-grid-sample',
    module=MODULE,
    summary='R1 through geometric augmentations of ADA fails: aten::grid_sampler_2d_backward',
    until='torch.nn.functional.grid_sample is twice differentiable',
    is_needed=is_needed,
    apply=apply,
)
