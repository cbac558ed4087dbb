"""Sampling of images at the points of a grid, twice differentiable in the images."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def grid_sample(input: Tensor, grid: Tensor) -> Tensor:
    """Sample images bilinearly, with zeros around them, corners not aligned.

    Differentiable to any order in the images, and once in the grid.

    Takes images (N,C,H,W) of any floating type and a grid (N,H',W',2) of points (x, y), where -1
    and 1 are the image's borders; gives (N,C,H',W') of the images' type.

    Raises:
        RuntimeError: In a second backward pass through a grid that requires a gradient.
    """
    return _Sample.apply(input, grid.to(input.dtype))


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(images, grid)
        return F.grid_sample(images, grid, 'bilinear', 'zeros', align_corners=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _SampleGradient.apply(grad, *ctx.saved_tensors, ctx.needs_input_grad)


class _SampleGradient(torch.autograd.Function):
    """The gradient, of which torch knows no derivative; in ``grad`` it is linear."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, images: Tensor, grid: Tensor, is_needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(grid)
        # 0, 0, False: bilinear, zeros, corners not aligned
        return torch.ops.aten.grid_sampler_2d_backward(grad, images, grid, 0, 0, False, is_needed)

    @staticmethod
    def backward(
        ctx: Any, grad_of_images: Tensor, grad_of_grid: Tensor | None
    ) -> tuple[Tensor | None, None, None, None]:
        (grid,) = ctx.saved_tensors
        if grid.requires_grad:
            raise RuntimeError(
                'grid_sample has no second derivative with respect to its grid; detach the grid, '
                'or take the penalty of images that were not sampled with a learned one'
            )
        return _Sample.apply(grad_of_images, grid), None, None, None
