"""The device that a tool computes on."""

import torch

__all__ = ['choose_device']


def choose_device(name: str | None = None) -> torch.device:
    """Settle ``--device`` before anything is loaded.

    Args:
        name (str | None): What the user gave, such as 'cpu' or 'cuda:0'. Defaults to None: a GPU if
            there is one.

    Returns:
        torch.device: A device on which tensors can be made.

    Raises:
        ValueError: There is no such device here.
    """
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(_refuse(name, 'torch knows no device of that name')) from error
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # of many types: torch has no one for a device that is not there
        raise ValueError(_refuse(name, str(error).strip().split('\n')[0])) from error
    return device


def _refuse(name: str, reason: str) -> str:
    there = ['cpu', *(f'cuda:{index}' for index in range(torch.cuda.device_count()))]
    return (
        f'--device {name!r} cannot be used ({reason}); this machine has {", ".join(there)}; '
        'without --device a GPU is taken if there is one'
    )
