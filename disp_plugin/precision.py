"""What number format a machine is good at: float32, bfloat16 or float16."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ['PRECISIONS', 'choose_precision', 'find_bfloat16']

PRECISIONS = ('auto', 'float32', 'bfloat16', 'float16')


def choose_precision(
    name: str = 'auto', device: 'str | torch.device' = 'cpu'
) -> 'tuple[torch.dtype, str]':
    """Choose the type in which networks compute, and say why in a sentence.

    'auto' is bfloat16 where the device has it in hardware, float16 on older GPUs, and float32
    elsewhere, where bfloat16 would be emulated and slower.

    Args:
        name (str): 'auto', 'float32', 'bfloat16' or 'float16'. Defaults to 'auto'.
        device (str | torch.device): Where networks compute. Defaults to 'cpu'.

    Returns:
        tuple[torch.dtype, str]: The type, and the reason, which begins with its name.

    Raises:
        ValueError: There is no such precision, or float16 is asked for on a CPU.
    """
    import torch

    device = torch.device(device)
    if name not in PRECISIONS:
        raise ValueError(f'precision is {name!r}; it must be one of {", ".join(PRECISIONS)}')
    if name == 'float16' and device.type == 'cpu':
        raise ValueError(
            "precision is 'float16', which is for GPUs, but the networks are on a CPU; choose "
            "'auto', 'bfloat16' or 'float32'"
        )
    unit = find_bfloat16(device)
    if name == 'bfloat16' and unit is None:
        reason = 'bfloat16, as asked for, but this device emulates it, slower than float32'
    elif name != 'auto':
        reason = f'{name}, as asked for'
    elif unit is not None:
        name, reason = 'bfloat16', f'bfloat16, which this device has in hardware ({unit})'
    elif device.type == 'cuda':
        name, reason = 'float16', 'float16, as this GPU has no bfloat16 in hardware'
    else:
        name = 'float32'
        reason = 'float32, as bfloat16 would be emulated on this device and slower'
    return getattr(torch, name), reason


def find_bfloat16(device: 'str | torch.device') -> str | None:
    """Name what computes bfloat16 in a device's hardware; None if nothing is known to."""
    import torch

    device = torch.device(device)
    if device.type == 'cuda':
        major, minor = torch.cuda.get_device_capability(device)
        return f'compute capability {major}.{minor}' if major >= 8 else None
    if device.type == 'cpu':
        # names of torch's own that it may change
        for unit, question in (
            ('amx', '_is_amx_tile_supported'),
            ('avx512_bf16', '_is_avx512_bf16_supported'),
        ):
            if getattr(torch.cpu, question, bool)():
                return unit
    return None
