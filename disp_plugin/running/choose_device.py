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
        torch.zeros(1, device=device).item()
    except Exception as error:  # of many types: torch has no one for a device that is not there
        reason = str(error).strip().split('\n')[0]
        raise ValueError(
            f"--device {name!r} cannot be used ({reason}); give 'cpu', or one of this machine's "
            f"{torch.cuda.device_count()} CUDA devices, such as 'cuda:0', or leave it out"
        ) from error
    return device
