"""BatchNorm statistics that fit the EMA generator, before anything is sampled from it."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmagic.engine.hooks import VisualizationHook
from mmagic.models.base_models import BaseGAN
from mmagic.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from disp_plugin.distributed import unwrap_model
from disp_plugin.models import DISPGAN

EMA_BATCH_NORM = 'ema_batch_norm'


@HOOKS.register_module()
class EMABatchNormHook(Hook):
    """Re-estimate the BatchNorm statistics of the EMA generator before it is sampled.

    mmagic averages the generator's weights but copies its BatchNorm statistics, which belong to
    other weights. This hook measures them on images of the EMA generator: before validation, before
    a test (unless the checkpoint says that it was done), before mmagic's ``VisualizationHook`` and
    for every checkpoint. Training does not change: the generator's next update copies the
    statistics again, and the hook draws from a random generator of its own. It does nothing for a
    model without an EMA generator or without BatchNorm in it.

    Args:
        num_batches (int): Batches over which the statistics are averaged. Defaults to 16.
        batch_size (int): Images in each. Defaults to 64.
        seed (int): Seed of noise and priors, the same each time. Defaults to 0.

    Raises:
        ValueError: ``num_batches`` is below 1 or ``batch_size`` below 2.
    """

    # Before VisualizationHook, which is NORMAL, at the same iteration.
    priority = 'ABOVE_NORMAL'

    def __init__(self, num_batches: int = 16, batch_size: int = 64, seed: int = 0) -> None:
        if num_batches < 1 or batch_size < 2:
            raise ValueError(
                'EMABatchNormHook needs num_batches of 1 or more and batch_size of 2 or more, got '
                f'num_batches={num_batches} and batch_size={batch_size}'
            )
        self.settings = {'num_batches': num_batches, 'batch_size': batch_size, 'seed': seed}
        self._is_estimated = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note whether the checkpoint has estimated statistics."""
        self._is_estimated = EMA_BATCH_NORM in checkpoint

    def before_train_iter(self, *args: object, **kwargs: object) -> None:
        """Note that the weights are about to change."""
        self._is_estimated = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, *args: object, **kwargs: object
    ) -> None:
        """Estimate where mmagic's ``VisualizationHook`` is about to sample."""
        is_visited = any(
            isinstance(hook, VisualizationHook)
            and self.every_n_inner_iters(batch_idx, hook.interval)
            for hook in runner.hooks
        )
        if is_visited and is_main_process():
            self._estimate(runner)

    def before_val(self, runner: Runner) -> None:
        """Estimate before validation."""
        self._estimate(runner)

    def before_test(self, runner: Runner) -> None:
        """Estimate before a test, unless the checkpoint has estimated statistics."""
        self._estimate(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put estimated statistics into the checkpoint."""
        if not self._estimate(runner):
            return
        # The state was copied before this hook was called; only on a CPU does it share memory.
        for module_name, norm in _batch_norms(unwrap_model(runner.model).generator_ema):
            for name, buffer in norm.named_buffers():
                key = f'generator_ema.{module_name}.{name}'
                checkpoint['state_dict'][key] = buffer.detach().cpu().clone()
        checkpoint[EMA_BATCH_NORM] = self.settings

    def _estimate(self, runner: Runner) -> bool:
        """Estimate once per state of the weights; tell whether the statistics are estimated now."""
        gan = unwrap_model(runner.model)
        generator = getattr(gan, 'generator_ema', None)
        if generator is None or not list(_batch_norms(generator)):
            return False
        has_priors = isinstance(gan, DISPGAN) and gan.prior_dim > 0
        if has_priors and (gan.sampler is None or not gan.sampler.is_fitted):
            runner.logger.warning(
                'the BatchNorm statistics of the EMA generator are not estimated: the sampler of '
                'priors is not fitted; PriorSamplerHook fits it before training'
            )
            return False
        if not self._is_estimated:
            estimate_batch_norm(gan, **self.settings)
            self._is_estimated = True
        return True


@torch.no_grad()
def estimate_batch_norm(gan: BaseGAN, num_batches: int, batch_size: int, seed: int = 0) -> None:
    """Measure the BatchNorm statistics of the EMA generator on images that it generates.

    The GAN may be of this package or of mmagic. All batches have equal weight. Nothing else of the
    model changes, nor do the global random generators: only BatchNorm layers are in training mode,
    spectral norms do not move, and in a distributed run each process measures by itself.
    """
    device = next(gan.generator_ema.parameters()).device
    devices = [device] if device.type == 'cuda' else []
    with torch.random.fork_rng(devices), _measuring(gan.generator_ema):
        torch.manual_seed(seed)  # for what a generator draws inside, such as labels
        randomness = torch.Generator().manual_seed(seed)
        for _ in range(num_batches):
            if isinstance(gan, DISPGAN):
                noise, prior = gan.draw_latents(batch_size, randomness)
                options = {} if prior is None else {'prior': gan.normalize_prior(prior)}
            else:  # of mmagic: its generator draws labels itself
                noise = torch.randn(batch_size, gan.noise_size, generator=randomness).to(device)
                options = {}
            gan.generator_ema(noise, return_noise=False, **options)


def _batch_norms(module: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None:
            yield name, part


@contextmanager
def _measuring(module: nn.Module) -> Iterator[None]:
    """Put BatchNorm layers, and nothing else, into a mode that averages their statistics."""
    norms = [norm for _, norm in _batch_norms(module)]
    modes = [(part, part.training) for part in module.modules()]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    try:
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
            norm.momentum = None
            # Synchronized layers would wait for processes that do not take part.
            norm.forward = functools.partial(_BatchNorm.forward, norm)  # type: ignore[method-assign]
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            del norm.forward
        for part, mode in modes:
            part.training = mode
