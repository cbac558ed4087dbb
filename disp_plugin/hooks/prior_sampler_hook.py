"""Before training: is the bank the right one, and is all that is computed from it computed?"""

import warnings
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from torch import nn

from disp_plugin.priors import PriorBank

from .unwrap_model import unwrap_model

PRIOR_BANK = 'prior_bank'


@HOOKS.register_module()
class PriorSamplerHook(Hook):
    """Check the bank, then fit the model's normalisation of priors and its sampler to it.

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

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Note which bank the checkpoint's model was fitted to.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint.
        """
        self._fitted_to = checkpoint.get(PRIOR_BANK, {}).get('fingerprint')

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Record which bank the model is fitted to.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint.
        """
        if self._fitted_to is not None:
            checkpoint[PRIOR_BANK] = {'fingerprint': self._fitted_to, 'file': str(self.bank_file)}

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
        # A fault must stop all processes: one that waits for a broadcast would wait for ever.
        result: list[Any] = [None, None, None]
        if is_main_process():
            try:
                result = [*self._check_and_fit(runner, gan), None]
            except Exception as error:
                result[2] = error
        broadcast_object_list(result)
        self._fitted_to, states, error = result
        if error is not None:
            raise error
        if not is_main_process():
            for name, state in states.items():
                getattr(gan, name).load_state_dict(state)

    def _check_and_fit(self, runner: Any, gan: nn.Module) -> tuple[str, dict[str, dict]]:
        """Make the model fit its bank; return the bank's fingerprint and what was fitted."""
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
        bank = bank.restrict_to(runner.train_dataloader.dataset)
        names = [name for name in ('prior_normalizer', 'sampler') if getattr(gan, name) is not None]
        is_changed = self._fitted_to not in (None, bank.fingerprint)
        if is_changed:
            runner.logger.warning(
                f'the bank {self.bank_file} is another one than that of the checkpoint: the '
                'normalisation of priors and their sampler are fitted anew'
            )
        for name in names:
            if is_changed or not getattr(gan, name).is_fitted:
                _fit(getattr(gan, name), bank)
                runner.logger.info(f'{name} is fitted to the {bank.num_images} images of {bank}')
        states = {name: _to_cpu(getattr(gan, name).state_dict()) for name in names}
        return bank.fingerprint, states


def _fit(module: Any, bank: PriorBank) -> None:
    from disp_plugin.models import PriorNormalizer

    if not isinstance(module, PriorNormalizer):
        module.fit(bank)
        return
    with warnings.catch_warnings():
        # The priors are mapped into memory for reading, and are only read.
        warnings.filterwarnings('ignore', message='.*not writable')
        module.fit(torch.from_numpy(bank.priors))


def _to_cpu(state: dict) -> dict:
    return {name: value.cpu() for name, value in state.items()}
