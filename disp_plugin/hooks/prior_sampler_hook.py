"""Before training: is the bank the right one, and is all that is computed from it computed?"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from threadpoolctl import threadpool_limits

from disp_plugin.distributed import on_main_process, unwrap_model
from disp_plugin.priors import PriorBank

PRIOR_BANK = 'prior_bank'


@HOOKS.register_module()
class PriorSamplerHook(Hook):
    """Check the bank, then fit the model's normalization of priors and its sampler to it.

    The bank must hold priors of the model's length, of the training images as they are on disk and
    of the config's encoder. What is fitted is saved with the model, so a resumed run does not fit
    again, unless the bank is another one than the checkpoint's. Rank 0 does it, the others receive.

    Args:
        bank_file (str): The bank.
        encoder (dict, optional): The config's encoder, to compare with the bank's.
            Defaults to None, which compares nothing.
    """

    # Before any other hook could want to sample.
    priority = 'HIGH'

    def __init__(self, bank_file: str, encoder: dict | None = None) -> None:
        self.bank_file = bank_file
        self.encoder = encoder
        self._fitted_to: str | None = None
        self._sampler: str | None = None

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Note which bank the checkpoint's model was fitted to.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint.
        """
        known = checkpoint.get(PRIOR_BANK, {})
        self._fitted_to, self._sampler = known.get('fingerprint'), known.get('sampler')

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Record which bank the model is fitted to.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint.
        """
        if self._fitted_to is not None:
            checkpoint[PRIOR_BANK] = {
                'fingerprint': self._fitted_to,
                'file': str(self.bank_file),
                'sampler': self._sampler,
            }

    def before_train(self, runner: Any) -> None:
        """Check the bank and fit.

        Args:
            runner (Runner): The runner.

        Raises:
            FileNotFoundError: There is no such bank.
            ValueError: The bank does not match the model, the data set or the encoder.
        """
        gan = unwrap_model(runner.model)
        if gan.prior_dim == 0:
            runner.logger.info('prior_dim is 0: this model uses no priors, and no bank is opened')
            return
        sampler = describe_sampler(runner.cfg.model.get('sampler'))
        if gan.sampler is not None and self._sampler not in (None, sampler):
            runner.logger.warning(
                'the sampler of the config is another one than that of the checkpoint: it is '
                'fitted anew'
            )
            gan.sampler.forget()
        self._sampler = sampler
        self._fitted_to = self._fit_on_main(runner, gan, self._choose_parts(gan))

    def _choose_parts(self, gan: Any) -> list[str]:
        """Name the parts of a model that are fitted before training."""
        names = ('prior_normalizer', 'sampler')
        return [name for name in names if getattr(gan, name) is not None]

    def _fit_on_main(self, runner: Any, gan: Any, names: list[str]) -> str:
        """Fit parts in rank 0, give them to the others; return the bank's fingerprint."""

        def fit() -> tuple[str, dict[str, dict]]:
            bank = self._open_bank(runner, gan)
            return bank.fingerprint, self._fit_parts(runner, gan, names, bank)

        fingerprint, states = on_main_process(fit)
        if not is_main_process():
            self._forget_another_bank(gan, fingerprint)
            for name, state in states.items():
                getattr(gan, name).load_state_dict(state)
        return fingerprint

    def _open_bank(self, runner: Any, gan: Any) -> PriorBank:
        """Open the bank, see that it is the right one, and leave out what is not trained on."""
        bank = PriorBank.open(self.bank_file)
        if bank.prior_dim != gan.prior_dim:
            raise ValueError(
                f'prior_dim is {gan.prior_dim} but the bank {self.bank_file} holds '
                f'{bank.prior_dim}-d priors; rebuild it with tools/build_prior_bank.py or set '
                f'prior_dim={bank.prior_dim}'
            )
        bank.check_dataset(runner.train_dataloader.dataset)
        if self.encoder is not None:
            bank.check_encoder(self.encoder)
        # A bank may hold more than a run trains on; none of that may show in what it samples.
        return bank.restrict_to(runner.train_dataloader.dataset)

    def _fit_parts(
        self, runner: Any, gan: Any, names: list[str], bank: PriorBank
    ) -> dict[str, dict]:
        """Fit what is not fitted to this bank; return the states of all parts named."""
        if self._forget_another_bank(gan, bank.fingerprint):
            runner.logger.warning(
                f'the bank {self.bank_file} is another one than that of the checkpoint: the '
                'normalization of priors and their sampler are fitted anew'
            )
        if gan.sampler is not None and not gan.sampler.is_fitted:
            gan.sampler.check(bank)  # at once, though it may be fitted later
        for name in names:
            if not getattr(gan, name).is_fitted:
                with _all_threads():
                    _fit(getattr(gan, name), bank)
                runner.logger.info(f'{name} is fitted to the {bank.num_images} images of {bank}')
        return {name: _to_cpu(getattr(gan, name).state_dict()) for name in names}

    def _forget_another_bank(self, gan: Any, fingerprint: str) -> bool:
        """Take back what was fitted to a bank of another fingerprint, in every process alike."""
        if self._fitted_to in (None, fingerprint):
            return False
        for name in ('prior_normalizer', 'sampler'):
            if getattr(gan, name) is not None:
                getattr(gan, name).forget()
        return True


def describe_sampler(config: Mapping[str, Any] | None) -> str:
    """Write a sampler's config so that two can be compared.

    Args:
        config (Mapping[str, Any] | None): The config.

    Returns:
        str: JSON.
    """
    return json.dumps(None if config is None else dict(config), sort_keys=True, default=str)


@contextmanager
def _all_threads() -> Iterator[None]:
    """Let one process of several use all cores: the others wait, and torchrun left it one."""
    if get_world_size() == 1:
        yield
        return
    can_ask = hasattr(os, 'sched_getaffinity')
    num_cores = len(os.sched_getaffinity(0)) if can_ask else os.cpu_count() or 1
    with threadpool_limits(num_cores):
        yield


def _fit(module: Any, bank: PriorBank) -> None:
    from disp_plugin.models import PriorNormalizer

    if not isinstance(module, PriorNormalizer):
        module.fit(bank)
        return
    if module.mode in ('centered_l2', 'whitened'):
        for _ in bank.iter_chunks():  # compared with their checksums
            pass
    with warnings.catch_warnings():
        # The priors are mapped into memory for reading, and are only read.
        warnings.filterwarnings('ignore', message='.*not writable')
        module.fit(torch.from_numpy(bank.priors))


def _to_cpu(state: dict) -> dict:
    return {name: value.cpu() for name, value in state.items()}
