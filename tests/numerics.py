"""Comparisons with a reference whose bounds follow from the arithmetic, on any processor."""

import torch


def assert_close_to_scale(actual, expected, num_terms=10_000, dtype=None):
    """Compare element by element with a bound relative to the reference's largest number.

    A sum of n products that are rounded one after another, in any order and with or without fused
    multiply-adds, is off by at most n eps times the sum of their magnitudes. ``num_terms`` bounds
    the products on the longest path from an input to an output, with room for cancellation. Where
    a reference exists, run both sides in float64: the bound is then far below any real mistake.

    Args:
        actual (Tensor): What is tested.
        expected (Tensor): The reference, of the same shape.
        num_terms (int): Products on the longest path. Defaults to 10,000.
        dtype (torch.dtype): Least exact type that anything was stored in on the way. Defaults to
            None: the less exact of the two sides.
    """
    actual, expected = torch.as_tensor(actual), torch.as_tensor(expected)
    dtypes = [dtype] if dtype else [actual.dtype, expected.dtype]
    eps = max(torch.finfo(kind).eps for kind in dtypes)
    scale = expected.double().abs().max().item()
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=0, atol=num_terms * eps * max(scale, 1e-300)
    )
