"""Before training: check the bank, fit the normalization of priors and their sampler to it."""

import json
import warnings
from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from mmagic.engine.hooks import VisualizationHook
from mmagic.registry import HOOKS
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from threadpoolctl import threadpool_limits
from torch import Tensor

from disp_plugin.datasets.image_views import unwrap_dataset
from disp_plugin.distributed import count_cores, on_main_process, unwrap_model
from disp_plugin.models.disp_gan import PriorGAN
from disp_plugin.models.prior_normalizer import FittedModule, PriorNormalizer
from disp_plugin.priors import PriorBank, check_dataset, check_encoder, find_bank, list_images
from disp_plugin.samplers import CellSampler, IMLESampler, PerImageSampler, PriorSampler
from disp_plugin.settings import check_top_level

PRIOR_BANK = 'prior_bank'


class FittedGAN(PriorGAN, Protocol):
    """A GAN whose sampler of priors is fitted to a bank."""

    sampler: PriorSampler | None


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

    A model without priors needs no bank; of one with an embedding for each training image their
    number is checked.
    """

    # Before any other hook could want to sample.
    priority = 'HIGH'

    def __init__(self) -> None:
        self._fitted_to: str | None = None
        self._sampler: str | None = None
        self._is_training = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note which bank the checkpoint's model was fitted to."""
        known = checkpoint.get(PRIOR_BANK, {})
        self._fitted_to, self._sampler = known.get('fingerprint'), known.get('sampler')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Record which bank the model is fitted to."""
        if self._fitted_to is not None:
            checkpoint[PRIOR_BANK] = {
                'fingerprint': self._fitted_to,
                'file': _find_bank(runner),
                'sampler': self._sampler,
            }

    def before_train(self, runner: Runner) -> None:
        """Check the bank and fit.

        Raises:
            FileNotFoundError: There is no such bank.
            ValueError: The bank does not match the model, the data set or the encoder, the
                sampler cannot be fitted to it, or a setting stands where nothing reads it.
        """
        check_top_level(runner.cfg)
        gan: FittedGAN = unwrap_model(runner.model)
        _check_images(runner, gan)
        if gan.prior_dim == 0 or (gan.sampler is not None and not gan.sampler.needs_bank):
            runner.logger.info('this model needs no bank of priors, and none is opened')
            self._is_training = True
            return
        sampler = describe_sampler(runner.cfg.model.get('sampler'))
        if gan.sampler is not None and self._sampler not in (None, sampler):
            runner.logger.warning(
                'the sampler of the config is another one than that of the checkpoint: it is '
                'fitted anew'
            )
            gan.sampler.forget()
        self._sampler = sampler
        self._fit_on_main(runner, gan)
        self._is_training = True

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Fit a late sampler if a sample grid or a checkpoint follows this iteration."""
        if self.is_last_train_iter(runner) or any(
            self.every_n_train_iters(runner, hook.interval)
            for hook in runner.hooks
            if isinstance(hook, (VisualizationHook, CheckpointHook))
        ):
            self.before_val(runner)

    def before_val(self, runner: Runner) -> None:
        """Fit a late sampler before validation."""
        gan: FittedGAN = unwrap_model(runner.model)
        if self._is_training and gan.sampler is not None and not gan.sampler.is_fitted:
            self._fit_on_main(runner, gan)

    def _fit_on_main(self, runner: Runner, gan: FittedGAN) -> None:
        """Fit in rank 0 what is not fitted to the bank; give the others the result."""
        parts: dict[str, PriorNormalizer | PriorSampler]
        parts = {'prior_normalizer': gan.prior_normalizer}
        if gan.sampler is not None:
            parts['sampler'] = gan.sampler

        def fit() -> tuple[str | None, dict[str, dict[str, Tensor]]]:
            is_free = gan.sampler is not None and not gan.sampler.needs_bank
            bank = None if is_free else self._find_bank(runner, gan, parts.values())
            for name, part in parts.items():
                is_sampler = isinstance(part, PriorSampler)
                is_late = is_sampler and part.fits_late
                if not part.is_fitted and (self._is_training or not is_late):
                    source = gan.find_sampled(bank) if is_sampler else bank
                    assert source is not None  # without a bank only a GLANN's sampler is unfitted
                    _fit(part, source)
                    if isinstance(part, CellSampler):  # in the order of the data set, not the bank
                        rows = source.find(list_images(runner.train_dataloader.dataset).keys)
                        part.set_labels(part.labels.cpu().numpy()[rows])
                    runner.logger.info(
                        f'{name} is fitted to the {source.num_images} images of {source}'
                    )
            fingerprint = None if bank is None else bank.fingerprint
            return fingerprint, {name: _to_cpu(part) for name, part in parts.items()}

        self._fitted_to, states = on_main_process(fit)
        if not is_main_process():
            for name, state in states.items():
                parts[name].load_state_dict(state)

    def _find_bank(
        self, runner: Runner, gan: FittedGAN, parts: Iterable[FittedModule]
    ) -> PriorBank:
        """Open the bank; forget what was fitted to another, and check that the sampler can be."""
        bank = _open_bank(runner, gan)
        if not self._is_training:
            _tell_near_copies(runner, bank)
        if self._fitted_to not in (None, bank.fingerprint):
            self._forget(runner, parts)
        if gan.sampler is not None and not gan.sampler.is_fitted:
            gan.sampler.check(bank)  # at once, though it may be fitted later
        return bank

    def _forget(self, runner: Runner, parts: Iterable[FittedModule]) -> None:
        """Take back what was fitted to another bank."""
        if self._is_training:
            raise ValueError(
                f'the bank {_find_bank(runner)} was rebuilt while this run used it, and the '
                'sampler cannot be fitted; resume from the last checkpoint, which fits anew'
            )
        runner.logger.warning(
            f'the bank {_find_bank(runner)} is another one than that of the checkpoint: '
            'the normalization of priors and their sampler are fitted anew'
        )
        for part in parts:
            part.forget()


@HOOKS.register_module()
class GMMSamplerHook(PriorSamplerHook):
    """Do what ``PriorSamplerHook`` does, under the name that configs with mixtures use."""


def _tell_near_copies(runner: Runner, bank: PriorBank) -> None:
    pairs = bank.find_near_copies()
    if pairs:
        shown = ', '.join(f'{one} and {other} ({cos:.3f})' for one, other, cos in pairs[:3])
        runner.logger.warning(
            f'{len(pairs)} pairs of the {bank.num_images} training images are nearly the same to '
            f'the encoder (cosine of at least 0.98), mirrored ones included, such as {shown}; '
            'look at them, and leave copies out'
        )


def describe_sampler(config: Mapping[str, object] | None) -> str:
    """Write a sampler's config as JSON, for two to be compared."""
    return json.dumps(None if config is None else dict(config), sort_keys=True, default=str)


def _check_images(runner: Runner, gan: FittedGAN) -> None:
    """Check the size and, for a per-image baseline, the number of the training images."""
    dataset = unwrap_dataset(runner.train_dataloader.dataset)
    shown = getattr(dataset, 'image_size', None)
    if None not in (shown, gan.image_size) and shown != gan.image_size:
        raise ValueError(
            f'train_dataloader.dataset.image_size is {shown} but model.image_size is '
            f'{gan.image_size}; set both to the same (--cfg-options image_size=... sets both)'
        )
    has_rows = gan.per_image and isinstance(gan.sampler, PerImageSampler | IMLESampler)
    if has_rows and gan.prior_dim != len(dataset):
        raise ValueError(
            f'model.per_image=True needs one embedding for each training image: model.prior_dim '
            f'is {gan.prior_dim}, but the data set has {len(dataset)} images; set '
            f'prior_dim={len(dataset)}'
        )


def _find_bank(runner: Runner) -> str:
    file = find_bank(runner.train_dataloader.dataset)
    if file is None:
        raise ValueError(
            'the model takes priors, but its training data set has no bank of them; set '
            'train_dataloader.dataset.bank_file, or, for a data set of another type, put '
            "dict(type='LoadPrior', bank_file=...) into its pipeline"
        )
    return str(file)


def _open_bank(runner: Runner, gan: FittedGAN) -> PriorBank:
    """Open the bank, check that it is the right one, leave out what is not trained on."""
    bank = PriorBank.open(_find_bank(runner))
    if bank.prior_dim != gan.prior_dim and not gan.per_image:
        raise ValueError(
            f'prior_dim is {gan.prior_dim} but the bank {bank.path} holds {bank.prior_dim}-d '
            'priors; rebuild it with tools/build_prior_bank.py or set '
            f'prior_dim={bank.prior_dim}'
        )
    dataset = runner.train_dataloader.dataset
    check_dataset(bank, dataset)
    bank.verify()  # a byte that flipped on a disk would train another GAN
    if runner.cfg.get('encoder') is not None:
        check_encoder(bank, runner.cfg.encoder)
    # A bank may hold more than a run trains on; none of that may show in what it samples.
    return bank.restrict_to(list_images(dataset).keys)


def _fit(part: PriorNormalizer | PriorSampler, bank: PriorBank) -> None:
    # The other processes wait meanwhile, and torchrun left this one a single thread.
    with (
        threadpool_limits(count_cores() if get_world_size() > 1 else None),
        warnings.catch_warnings(),
    ):
        # The priors are mapped into memory for reading, and are only read.
        warnings.filterwarnings('ignore', message='.*not writable')
        if isinstance(part, PriorSampler):
            part.fit(bank)
        else:
            part.fit(torch.from_numpy(bank.priors))


def _to_cpu(part: FittedModule) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in part.state_dict().items()}
