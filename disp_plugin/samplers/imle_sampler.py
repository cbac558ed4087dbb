"""IMLE: a small network from noise to the latents of a GLANN, or to priors."""

from typing import Any

import numpy as np
import torch
from mmagic.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_linear_bn_eval

from disp_plugin.encoders.backbone import seeded
from disp_plugin.priors import PriorBank

from .base_sampler import PriorSampler

NUM_MEASURED = 4096
"""Noises that the statistics of BatchNorm are measured on at the end."""


@MODELS.register_module()
class IMLESampler(PriorSampler):
    r"""Map noise to points, so that each point of the fit has a sample near it.

    Implicit maximum likelihood estimation (Li and Malik 2018, arXiv 1809.09087), as the second
    stage of GLANN (github.com/yedidh/glann, icp.py): each epoch draws twice as many noises n as
    there are points z_i, and moves the T(n) that is nearest to each towards it,

    .. math:: \min_T \sum_i |T(n_i) - z_i|^2, \quad n_i = \arg\min_n |T(n) - z_i|

    T has three linear layers without bias, BatchNorm and a ReLU between them; the norms are folded
    into the layers once it is trained. In a GLANN it is fitted to the latents of the training
    images, elsewhere to the priors of a bank.

    Args:
        noise_size (int): Length of the noise. Defaults to 32.
        width (int): Of the hidden layers. Defaults to 128.
        num_epochs (int): Passes over the points. The published 50 are of tens of thousands of
            images; for a hundred take hundreds. Defaults to 50.
        batch_size (int): Points of a step, at most all; what is left over of an epoch is dropped,
            as published. Defaults to 128.
        lr (float): Rate of Adam. Defaults to 0.001.
        seed (int): Of the fit. Defaults to 0.

    Raises:
        ValueError: A size is too small.
    """

    fits_late = True
    weight1: Tensor
    bias1: Tensor
    weight2: Tensor
    bias2: Tensor
    weight3: Tensor

    def __init__(
        self,
        noise_size: int = 32,
        width: int = 128,
        num_epochs: int = 50,
        batch_size: int = 128,
        lr: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(noise_size, width, num_epochs) < 1 or batch_size < 2:
            raise ValueError(
                'IMLESampler needs noise_size, width and num_epochs of 1 or more and batch_size of '
                f'2 or more, but got {noise_size}, {width}, {num_epochs} and {batch_size}'
            )
        self.noise_size, self.width = noise_size, width
        self.num_epochs, self.batch_size, self.lr, self.seed = num_epochs, batch_size, lr, seed
        for name in ('weight1', 'bias1', 'weight2', 'bias2', 'weight3'):
            self.register_buffer(name, torch.empty(0))

    def check(self, bank: PriorBank) -> None:
        """Check that there are two points or more."""
        if bank.num_images < 2:
            raise ValueError(f'IMLESampler needs 2 points or more, but {bank} holds one')

    def fit(self, bank: PriorBank) -> None:
        """Fit to the rows of a bank, on the sampler's device.

        Raises:
            ValueError: There is a single row, or the fit diverges.
        """
        self.check(bank)
        rows = torch.from_numpy(bank.take(np.arange(bank.num_images)))
        # in a validation there are no gradients
        with seeded(self.seed), torch.enable_grad():
            network, loss = self._train(rows.to(self.weight1.device))
            folded = _fold(network)
        if not np.isfinite(loss):
            raise ValueError(f'IMLESampler diverges with lr={self.lr}; set model.sampler.lr lower')
        print_log(f'IMLESampler: mean squared error {loss:.4g}', 'current')
        for name, value in zip(self._buffers, folded, strict=True):
            self.set_buffer(name, value)

    def _train(self, points: Tensor) -> tuple[nn.Sequential, float]:
        """Train T on points (N, Z); give it and the last step's mean squared error."""
        num, device = len(points), points.device
        hidden = [
            part
            for size in (self.noise_size, self.width)
            for part in (nn.Linear(size, self.width, False), nn.BatchNorm1d(self.width), nn.ReLU())
        ]
        network = nn.Sequential(*hidden, nn.Linear(self.width, points.shape[1], False)).to(device)
        optimizer = torch.optim.Adam(
            network.parameters(), self.lr, (0.5, 0.999), weight_decay=1e-5, fused=True
        )
        batch = min(self.batch_size, num)
        loss = torch.tensor(0.0)
        for _ in range(self.num_epochs):
            # of the CPU's generator: the same on every device
            noise = torch.randn(2 * num, self.noise_size).to(device)
            with torch.no_grad():
                made = torch.cat([network(part) for part in noise.tensor_split(2 * num // batch)])
            chosen = noise[find_nearest(points, made)]
            order = torch.randperm(num)[: num // batch * batch].to(device)
            for rows in order.split(batch):
                optimizer.zero_grad()
                loss = functional.mse_loss(network(chosen[rows]), points[rows])
                loss.backward()
                optimizer.step()
        return network, loss.item()

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw T(n) (num, Z) of normal noises n."""
        noise = torch.randn(num, self.noise_size, generator=generator).to(self.weight1.device)
        hidden = functional.linear(noise, self.weight1, self.bias1).relu()
        hidden = functional.linear(hidden, self.weight2, self.bias2).relu()
        return functional.linear(hidden, self.weight3)


def find_nearest(points: Tensor, candidates: Tensor, rows: int = 1024) -> Tensor:
    """Find the row of the nearest of M candidates (M, Z) for each of N points: (N,)."""
    exact = 'donot_use_mm_for_euclid_dist'
    parts = points.split(rows)
    return torch.cat(
        [torch.cdist(part, candidates, compute_mode=exact).argmin(1) for part in parts]
    )


@torch.no_grad()
def _fold(network: nn.Sequential) -> list[Tensor]:
    """Measure the norms' statistics and fold them; give weights and biases in order."""
    first, norm1, _, second, norm2, _, last = list[Any](network)
    norm1.momentum = norm2.momentum = 1.0
    network(torch.randn(NUM_MEASURED, first.in_features).to(last.weight.device))
    network.eval()
    folded = [fuse_linear_bn_eval(*pair) for pair in ((first, norm1), (second, norm2))]
    return [value for layer in folded for value in (layer.weight, layer.bias)] + [last.weight]
