"""IvOM: how near the generator can come to images that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from mmagic.models.base_models import BaseGAN
from mmagic.registry import METRICS
from torch import Tensor
from torch.utils.data import DataLoader

from disp_plugin.applications.invert_images import find_generator, invert_images, list_blocks
from disp_plugin.applications.sample_images import from_rgb, to_rgb

from ..metric_card import MetricCard
from ..spaces import Config, FeatureSpace, get_space
from .distances import Estimate, frechet_distance
from .gan_metric import GanMetric

__all__ = ['IvOMMetric', 'RecoveryGap', 'compare_recovery', 'inversion_error']


@METRICS.register_module()
class IvOMMetric(GanMetric):
    """Smallest pixel error that inverting held-out images reaches, and FID of what it gives.

    Inference via optimization (Metz et al. 2017, arXiv 1611.02163), by optimizing the projected
    prior of every block as in arXiv 2012.04256; of a self-modulated baseline, what every block
    takes of the noise. It takes minutes on a GPU.

    Args:
        encoder (Config | None): Config of the encoder of the priors; None for a GAN without priors.
        spaces (Mapping[str, Config] | None): Name -> config of an encoder, for the FID between
            inverted images and queries. Defaults to None: no FID.
        num_queries (int): Held-out images to invert, drawn at random. Defaults to 100.
        num_steps (int): Of the optimization. Defaults to 200.
        batch_size (int): Images at a time. Defaults to 32.
        **kwargs: Of :class:`GanMetric`.

    Raises:
        ValueError: A number is below 2.
    """

    def __init__(
        self,
        encoder: Config | None,
        spaces: Mapping[str, Config] | None = None,
        num_queries: int = 100,
        num_steps: int = 200,
        batch_size: int = 32,
        **kwargs: Any,
    ) -> None:
        if num_queries < 2 or num_steps < 1:
            raise ValueError(
                f'IvOM needs at least 2 queries and 1 step, but got {num_queries} and {num_steps}'
            )
        super().__init__(**kwargs)
        self.prior_space = get_space('prior', encoder) if encoder else None
        self.spaces = [get_space(name, cfg) for name, cfg in (spaces or {}).items()]
        self.num_queries = num_queries
        self.num_steps = num_steps
        self.batch_size = batch_size

    def prepare(self, module: BaseGAN, dataloader: DataLoader) -> None:
        """Note the GAN and the held-out images.

        Raises:
            ValueError: The GAN takes priors and there is no encoder that gives those of unseen
                images, or its blocks take no condition.
        """
        super().prepare(module, dataloader)
        if self.gan.prior_dim and self.prior_space is None:
            raise ValueError(
                'IvOM starts from the priors of unseen images, but the run has no encoder that '
                'gives them; leave ivom out'
            )
        list_blocks(find_generator(self.gan, self.sample_model))

    def compute_cards(self, generated: Tensor | None) -> list[MetricCard]:
        """Compute card 'ivom', and 'fid_inverted' for each space."""
        num = min(self.num_queries, len(self.held_out))
        rows = np.random.default_rng(self.seed).permutation(len(self.held_out))[:num].tolist()
        queries = self.held_out.images(rows)
        found = invert_images(
            self.gan,
            from_rgb(queries, self.channel_order),
            self.held_out.features(self.prior_space)[rows] if self.prior_space else None,
            self.num_steps,
            seed=self.seed,
            batch_size=self.batch_size,
            sample_model=self.sample_model,
        )
        parameters: dict[str, float] = {'queries': num, 'steps': self.num_steps, 'lr': 0.1}
        protocol = self.protocol('ivom', parameters=parameters)
        cards = [MetricCard(protocol, *inversion_error(found.losses))]
        inverted = to_rgb((found.images + 1) * 127.5, self.channel_order)
        for space in self.spaces:
            sets = (self._encode(space, torch.from_numpy(each)) for each in (inverted, queries))
            protocol = self.protocol('fid_inverted', space=space, parameters=parameters)
            cards.append(MetricCard(protocol, *frechet_distance(*sets)))
        return cards

    def _encode(self, space: FeatureSpace, images: Tensor) -> Tensor:
        return torch.cat([space.features(part) for part in images.split(self.batch_size)])


def inversion_error(losses: Tensor) -> Estimate:
    """Average the smallest error that inversion reached for each query.

    Args:
        losses (Tensor): (S + 1, N) mean squared error of pixels in [-1, 1], for N held-out queries
            at every step of their inversion, as :class:`Inversion` has them.

    Returns:
        Estimate: The mean over queries, as Table 7 of arXiv 2012.04256 reports it, and its standard
        error; no error of a single query.

    Raises:
        ValueError: There is no query, or one without any finite error.
    """
    if losses.dim() != 2 or losses.numel() == 0:
        raise ValueError(
            f'losses must be (steps + 1, queries), both at least 1, but are {tuple(losses.shape)}'
        )
    smallest = losses.double().nan_to_num(nan=float('inf')).min(dim=0).values
    failed = int((~smallest.isfinite()).sum())
    if failed:
        raise ValueError(
            f'{failed} of {len(smallest)} queries were never given a finite image: has this GAN '
            'diverged?'
        )
    if len(smallest) == 1:
        return Estimate(smallest.item())
    return Estimate(smallest.mean().item(), (smallest.std() / len(smallest) ** 0.5).item())


class RecoveryGap(NamedTuple):
    """How much better training images are recovered than unseen ones.

    Attributes:
        train_median (float): MRE, the median recovery error, of the training images.
        held_out_median (float): That of the held-out images.
        gap (float): MRE-gap, (held-out - training) / held-out; the paper calls it overfitting above
            0.1.
        ks_statistic (float): Of the two-sided Kolmogorov-Smirnov test: the largest difference
            between the two distribution functions.
        ks_p (float): Its p; the paper calls it overfitting below 0.01.
    """

    train_median: float
    held_out_median: float
    gap: float
    ks_statistic: float
    ks_p: float


def compare_recovery(train: np.ndarray, held_out: np.ndarray) -> RecoveryGap:
    """Test for overfitting by latent recovery (Webster et al. 2019, arXiv 1901.03396).

    Args:
        train (np.ndarray): (M,) errors of recovering training images, the smallest of each.
        held_out (np.ndarray): (N,) of images that the GAN was not trained on.

    Raises:
        ValueError: A set has fewer than 2 errors, an error is not finite, or half of the held-out
            images are recovered exactly.
    """
    from scipy.stats import ks_2samp

    if min(len(train), len(held_out)) < 2 or not np.isfinite([*train, *held_out]).all():
        raise ValueError(
            'latent recovery compares at least 2 finite errors of training images with as many of '
            f'held-out ones, but got {len(train)} and {len(held_out)}'
        )
    medians = float(np.median(train)), float(np.median(held_out))
    if medians[1] == 0:
        raise ValueError('half of the held-out images are recovered exactly: are they unseen?')
    test = ks_2samp(train, held_out)
    gap = (medians[1] - medians[0]) / medians[1]
    return RecoveryGap(*medians, gap, float(test.statistic), float(test.pvalue))
