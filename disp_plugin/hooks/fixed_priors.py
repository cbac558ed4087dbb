"""The same noise and the same priors in every sample grid of a run."""

from collections.abc import Iterator

import torch
from mmagic.utils import sampler as host_samplers
from mmengine.runner import Runner

from disp_plugin.distributed import unwrap_model
from disp_plugin.models.disp_gan import PriorGAN


class FixedPriorsSampler:
    """Inputs for mmagic's ``VisualizationHook``: ``vis_kwargs_list=dict(type='FixedPriors')``.

    Noise and priors come from a generator of its own: every grid of a run, also after a resume,
    shows the same ones, and training does not change. A model with ``prior_dim=0`` gets noise only.

    Args:
        sample_kwargs (dict): ``max_times``, number of batches; ``num_batches``, their size, N; and
            optionally ``seed`` (defaults to 0), ``sample_model`` ('ema', 'orig' or 'ema/orig') and
            ``sample_kwargs``, given on to the model, such as ``dict(truncation=0.5)``.
        runner (Runner): Its model is sampled.

    Raises:
        ValueError: The model has priors but no sampler of them.
    """

    def __init__(self, sample_kwargs: dict, runner: Runner) -> None:
        self.max_times: int = sample_kwargs['max_times']
        self.batch_size: int = sample_kwargs['num_batches']
        self.seed: int = sample_kwargs.get('seed', 0)
        self.options = {
            name: sample_kwargs[name]
            for name in ('sample_model', 'sample_kwargs')
            if name in sample_kwargs
        }
        self.gan: PriorGAN = unwrap_model(runner.model)
        if self.gan.prior_dim > 0 and self.gan.sampler is None:
            raise ValueError(
                'model.sampler is None, but sample grids of type FixedPriors draw priors from it; '
                "give one, such as dict(type='VicinalMixSampler'), or drop the VisualizationHook"
            )

    def __iter__(self) -> Iterator[dict]:
        """Yield ``inputs`` with ``noise`` (N, Z), ``prior`` (N, D, raw) and ``num_batches``."""
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.max_times):
            noise, prior = self.gan.draw_latents(self.batch_size, generator)
            inputs = {'num_batches': self.batch_size, 'noise': noise, **self.options}
            yield {'inputs': inputs if prior is None else {**inputs, 'prior': prior}}


# mmagic looks '<type>Sampler' up among the names of this module; it has no registry for them.
host_samplers.FixedPriorsSampler = FixedPriorsSampler  # type: ignore[attr-defined]
