"""A sampler that is slow to fit: when it is first needed, and not before."""

from typing import Any

from mmagic.engine.hooks import VisualizationHook
from mmagic.registry import HOOKS
from mmengine.hooks import CheckpointHook

from disp_plugin.distributed import unwrap_model

from .prior_sampler_hook import PriorSamplerHook


@HOOKS.register_module()
class GMMSamplerHook(PriorSamplerHook):
    """Check the bank before training, but fit the sampler when something is first sampled or saved.

    For ``GMMPriorSampler`` and ``KMeansPriorSampler`` on large banks, whose fit takes minutes that
    a run which fails in its first iterations would wait for in vain. The fit comes before the first
    validation, sample grid or checkpoint of the run, in rank 0, and the others receive it; a
    resumed run fits again only if the bank is another one than the checkpoint's.

    Args:
        bank_file (str): The bank.
        encoder (dict, optional): The config's encoder, to compare with the bank's.
            Defaults to None, which compares nothing.
    """

    def _choose_parts(self, gan: Any) -> list[str]:
        return [name for name in super()._choose_parts(gan) if name != 'sampler']

    _is_training = False

    def before_train(self, runner: Any) -> None:
        """Check the bank and the sampler's options, and fit the normalization of priors.

        Args:
            runner (Runner): The runner.

        Raises:
            FileNotFoundError: There is no such bank.
            ValueError: The bank does not match the model, the data set or the encoder, or the
                sampler cannot be fitted to it.
        """
        super().before_train(runner)
        self._is_training = True

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Fit if a sample grid or a checkpoint follows this iteration.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Number of the iteration.
            data_batch (Any): Not used. Defaults to None.
            outputs (dict | None): Not used. Defaults to None.
        """
        takers = (
            hook for hook in runner.hooks if isinstance(hook, (VisualizationHook, CheckpointHook))
        )
        if self.is_last_train_iter(runner) or any(
            self.every_n_train_iters(runner, hook.interval) for hook in takers
        ):
            self._fit_sampler(runner)

    def before_val(self, runner: Any) -> None:
        """Fit before validation.

        Args:
            runner (Runner): The runner.
        """
        self._fit_sampler(runner)

    def _fit_sampler(self, runner: Any) -> None:
        gan = unwrap_model(runner.model)
        if gan.prior_dim > 0 and gan.sampler is not None and not gan.sampler.is_fitted:
            self._fit_on_main(runner, gan, ['sampler'])

    def _forget_another_bank(self, gan: Any, fingerprint: str) -> bool:
        if self._is_training and fingerprint != self._fitted_to:
            raise ValueError(
                f'the bank {self.bank_file} was rebuilt while this run used it, so that the '
                'sampler cannot be fitted; resume from the last checkpoint, which fits anew'
            )
        return super()._forget_another_bank(gan, fingerprint)
