"""Before training: check the bank, fit the normalization of priors and their sampler to it."""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmagic.engine.hooks import VisualizationHook
from mmagic.registry import HOOKS
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from threadpoolctl import threadpool_limits

from disp_plugin.distributed import on_main_process, unwrap_model
from disp_plugin.priors import PriorBank, check_dataset, check_encoder, find_bank, list_images

from .check_top_level import check_top_level

PRIOR_BANK = 'prior_bank'
_PARTS = ('prior_normalizer', 'sampler')


@HOOKS.register_module()
class PriorSamplerHook(Hook):
    """Check the bank, then fit the model's normalization of priors and its sampler to it.

    The bank is that of the training data set (its ``bank_file``, or the ``LoadPrior`` in its
    pipeline). It must hold priors of the model's length, of the training images as they are on
    disk, and of the config's top-level ``encoder``, if there is one. What is fitted is saved with
    the model, so a resumed run does not fit again, unless bank or sampler are others than the
    checkpoint's. Rank 0 does it, the others receive.

    A sampler whose fit takes minutes (``fits_late``) is fitted when it is first needed: before the
    first validation, sample grid or checkpoint. A run that fails in its first iterations does not
    wait for it in vain.

    A model without priors needs no bank; of one with ``per_image=True`` the number of training
    images is checked.
    """

    # Before any other hook could want to sample.
    priority = 'HIGH'

    def __init__(self) -> None:
        self._fitted_to: str | None = None
        self._sampler: str | None = None
        self._is_training = False

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Note which bank the checkpoint's model was fitted to."""
        known = checkpoint.get(PRIOR_BANK, {})
        self._fitted_to, self._sampler = known.get('fingerprint'), known.get('sampler')

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Record which bank the model is fitted to."""
        if self._fitted_to is not None:
            checkpoint[PRIOR_BANK] = {
                'fingerprint': self._fitted_to,
                'file': str(self._find_bank(runner)),
                'sampler': self._sampler,
            }

    def before_train(self, runner: Any) -> None:
        """Check the bank and fit.

        Raises:
            FileNotFoundError: There is no such bank.
            ValueError: The bank does not match the model, the data set or the encoder, the
                sampler cannot be fitted to it, or a setting stands where nothing reads it.
        """
        check_top_level(runner.cfg)
        gan = unwrap_model(runner.model)
        _check_images(runner.train_dataloader.dataset, gan)
        if gan.prior_dim == 0 or getattr(gan, 'per_image', False):
            runner.logger.info('this model needs no bank of priors, and none is opened')
            return
        sampler = describe_sampler(runner.cfg.model.get('sampler'))
        if gan.sampler is not None and self._sampler not in (None, sampler):
            runner.logger.warning(
                'the sampler of the config is another one than that of the checkpoint: it is '
                'fitted anew'
            )
            gan.sampler.forget()
        self._sampler = sampler
        names = [name for name in _PARTS if getattr(gan, name) is not None]
        if gan.sampler is not None and gan.sampler.fits_late:
            names.remove('sampler')
        self._fitted_to = self._fit_on_main(runner, gan, names)
        self._is_training = True

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Fit a late sampler if a sample grid or a checkpoint follows this iteration."""
        takers = (
            hook for hook in runner.hooks if isinstance(hook, (VisualizationHook, CheckpointHook))
        )
        if self.is_last_train_iter(runner) or any(
            self.every_n_train_iters(runner, hook.interval) for hook in takers
        ):
            self._fit_sampler(runner)

    def before_val(self, runner: Any) -> None:
        """Fit a late sampler before validation."""
        self._fit_sampler(runner)

    def _fit_sampler(self, runner: Any) -> None:
        gan = unwrap_model(runner.model)
        if self._is_training and gan.sampler is not None and not gan.sampler.is_fitted:
            self._fit_on_main(runner, gan, ['sampler'])

    def _fit_on_main(self, runner: Any, gan: Any, names: list[str]) -> str:
        """Fit parts in rank 0, give them to the others; return the bank's fingerprint."""

        def fit() -> tuple[str, dict[str, dict]]:
            bank = self._open_bank(runner, gan)
            return bank.fingerprint, self._fit_parts(runner, gan, names, bank)

        fingerprint, states = on_main_process(fit)
        if not is_main_process():
            self._forget_another_bank(runner, gan, fingerprint)
            for name, state in states.items():
                getattr(gan, name).load_state_dict(state)
        return fingerprint

    def _find_bank(self, runner: Any) -> str:
        file = find_bank(runner.train_dataloader.dataset)
        if file is None:
            raise ValueError(
                'the model takes priors, but its training data set has no bank of them; set '
                'train_dataloader.dataset.bank_file, or, for a data set of another type, put '
                "dict(type='LoadPrior', bank_file=...) into its pipeline"
            )
        return str(file)

    def _open_bank(self, runner: Any, gan: Any) -> PriorBank:
        """Open the bank, check that it is the right one, leave out what is not trained on."""
        bank = PriorBank.open(self._find_bank(runner))
        if bank.prior_dim != gan.prior_dim:
            raise ValueError(
                f'prior_dim is {gan.prior_dim} but the bank {bank.path} holds '
                f'{bank.prior_dim}-d priors; rebuild it with tools/build_prior_bank.py or set '
                f'prior_dim={bank.prior_dim}'
            )
        dataset = runner.train_dataloader.dataset
        check_dataset(bank, dataset)
        if runner.cfg.get('encoder') is not None:
            check_encoder(bank, runner.cfg.encoder)
        # A bank may hold more than a run trains on; none of that may show in what it samples.
        return bank.restrict_to(list_images(dataset).keys)

    def _fit_parts(
        self, runner: Any, gan: Any, names: list[str], bank: PriorBank
    ) -> dict[str, dict]:
        """Fit what is not fitted to this bank; return the states of all parts named."""
        if self._forget_another_bank(runner, gan, bank.fingerprint):
            runner.logger.warning(
                f'the bank {self._find_bank(runner)} is another one than that of the checkpoint: '
                'the normalization of priors and their sampler are fitted anew'
            )
        if gan.sampler is not None and not gan.sampler.is_fitted:
            gan.sampler.check(bank)  # at once, though it may be fitted later
        for name in names:
            if not getattr(gan, name).is_fitted:
                with _all_threads():
                    _fit(gan, name, bank)
                runner.logger.info(f'{name} is fitted to the {bank.num_images} images of {bank}')
        return {name: _to_cpu(getattr(gan, name).state_dict()) for name in names}

    def _forget_another_bank(self, runner: Any, gan: Any, fingerprint: str) -> bool:
        """Take back what was fitted to a bank of another fingerprint, in every process alike."""
        if self._fitted_to in (None, fingerprint):
            return False
        if self._is_training:
            raise ValueError(
                f'the bank {self._find_bank(runner)} was rebuilt while this run used it, and the '
                'sampler cannot be fitted; resume from the last checkpoint, which fits anew'
            )
        for name in _PARTS:
            if getattr(gan, name) is not None:
                getattr(gan, name).forget()
        return True


@HOOKS.register_module()
class GMMSamplerHook(PriorSamplerHook):
    """Do what ``PriorSamplerHook`` does, under the name that configs with mixtures use."""


def describe_sampler(config: Mapping[str, Any] | None) -> str:
    """Write a sampler's config as JSON, for two to be compared."""
    return json.dumps(None if config is None else dict(config), sort_keys=True, default=str)


def _check_images(dataset: Any, gan: Any) -> None:
    """Check the size and, for a per-image baseline, the number of the training images."""
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    shown, made = getattr(dataset, 'image_size', None), getattr(gan, 'image_size', None)
    if None not in (shown, made) and shown != made:
        raise ValueError(
            f'train_dataloader.dataset.image_size is {shown} but model.image_size is {made}; set '
            'both to the same (--cfg-options image_size=... sets both)'
        )
    if getattr(gan, 'per_image', False) and gan.prior_dim != len(dataset):
        raise ValueError(
            f'model.per_image=True needs one embedding for each training image: model.prior_dim '
            f'is {gan.prior_dim}, but the data set has {len(dataset)} images; set '
            f'prior_dim={len(dataset)}'
        )


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


def _fit(gan: Any, name: str, bank: PriorBank) -> None:
    if name == 'sampler':
        gan.sampler.fit(bank)
        return
    with warnings.catch_warnings():
        # The priors are mapped into memory for reading, and are only read.
        warnings.filterwarnings('ignore', message='.*not writable')
        gan.prior_normalizer.fit(torch.from_numpy(bank.priors))


def _to_cpu(state: dict) -> dict:
    return {name: value.cpu() for name, value in state.items()}
