"""Spectrally normalized weights of a checkpoint in the form that the model keeps them."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import normalize


def match_spectral_norm(source: dict[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """Turn one kind of spectral norm into the other where the model has another than the source.

    Both divide a weight by an estimate of its largest singular value. torch keeps the two vectors
    of the estimate; BigGAN-PyTorch and Chainer keep one, and take a step of the power method at
    each use. That step is taken here, so that the estimate in evaluation is the same.

    Args:
        source (dict[str, Tensor]): Entries of the checkpoint by mmagic's names; changed in place.
        target (Mapping[str, Tensor]): Entries of the model.

    Returns:
        list[str]: Layers that are normalized in the model or the checkpoint, and not in the other.
    """
    one_sided = []
    for layer in dict.fromkeys(key.rpartition('.')[0] for key in target if '.weight' in key):
        ours, theirs = _find_kind(target, layer), _find_kind(source, layer)
        if ours is None or theirs is None or ours == theirs:
            continue
        if 'plain' in (ours, theirs):
            one_sided.append(layer)
        elif ours == 'torch':
            weight, u = source.pop(f'{layer}.weight'), source.pop(f'{layer}.u0')
            source.pop(f'{layer}.sv0', None)
            rows = weight.flatten(1)
            v = normalize(u[0] @ rows, dim=0)
            source[f'{layer}.weight_orig'] = weight
            source[f'{layer}.weight_u'] = normalize(rows @ v, dim=0)
            source[f'{layer}.weight_v'] = v
        else:
            weight, u = source.pop(f'{layer}.weight_orig'), source.pop(f'{layer}.weight_u')
            v = source.pop(f'{layer}.weight_v')
            source[f'{layer}.weight'] = weight
            source[f'{layer}.u0'] = u[None]
            source[f'{layer}.sv0'] = (u @ weight.flatten(1) @ v)[None]
    return one_sided


def _find_kind(state: Mapping[str, Tensor], layer: str) -> str | None:
    """Tell how a state dict keeps a layer's weight; None where it has no matrix there."""
    if f'{layer}.weight_u' in state:
        return 'torch'
    if f'{layer}.u0' in state:
        return 'ajbrock'
    weight = state.get(f'{layer}.weight')
    return 'plain' if weight is not None and weight.ndim > 1 else None
