"""The model of a runner, in a distributed run too."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap_model(model: nn.Module) -> Any:
    """Take the model out of its distributed wrapper, if it is in one.

    Args:
        model (nn.Module): A runner's model.

    Returns:
        nn.Module: The model itself.
    """
    return model.module if is_model_wrapper(model) else model
