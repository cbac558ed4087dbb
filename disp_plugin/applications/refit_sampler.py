"""Fit another sampler for a trained GAN and write it into a checkpoint."""

from collections.abc import Mapping
from pathlib import Path

import torch
from mmagic.registry import DATASETS, MODELS
from mmengine.config import Config, ConfigDict

from disp_plugin.files import replace_file
from disp_plugin.hooks.prior_sampler_hook import describe_sampler
from disp_plugin.priors import PriorBank, check_encoder, list_images
from disp_plugin.samplers import PriorSampler
from disp_plugin.settings import find_bank_file
from disp_plugin.techniques import GLANN

from .load_gan import Checkpoint, find_checkpoint, load_gan, read_checkpoint

__all__ = ['refit_sampler']


def refit_sampler(
    checkpoint: str | Path,
    sampler: Mapping[str, object],
    out_file: str | Path,
    bank_file: str | Path | None = None,
    whole_bank: bool = False,
) -> PriorSampler:
    """Fit a sampler to the bank of a trained GAN and write a checkpoint that samples by it.

    Only the sampler changes; training can go on from the new checkpoint, with a config that names
    the same sampler.

    Args:
        checkpoint (str | Path): A checkpoint file, or a work folder: its last checkpoint.
        sampler (Mapping[str, object]): Config of the sampler.
        out_file (str | Path): Checkpoint to write; it may be the same file.
        bank_file (str | Path | None): The bank. Defaults to None: that of the checkpoint's config.
        whole_bank (bool): Fit to all images of the bank without looking at the training set, which
            may be gone. Defaults to False: to the training images only.

    Raises:
        FileNotFoundError: There is no such checkpoint, bank or training set.
        ValueError: The GAN takes no priors, the bank is not that of its training or has priors of
            another length or encoder, or the sampler cannot be fitted to it.
    """
    checkpoint = find_checkpoint(checkpoint)
    content = read_checkpoint(checkpoint)
    gan, cfg = load_gan(checkpoint)
    has_bank = bool(getattr(gan, 'prior_dim', 0)) and not gan.per_image
    if not has_bank and not isinstance(gan, GLANN):  # which is sampled by its latents
        raise ValueError(f'the GAN of {checkpoint} takes no priors of a bank: it needs no sampler')
    bank = _open_bank(content, cfg, gan.prior_dim, bank_file, whole_bank) if has_bank else None
    fitted: PriorSampler = MODELS.build(dict(sampler))
    fitted.fit(gan.find_sampled(bank))
    state = content['state_dict']
    for name in [name for name in state if name.startswith('sampler.')]:
        del state[name]
    state.update({f'sampler.{name}': value.cpu() for name, value in fitted.state_dict().items()})
    cfg['model']['sampler'] = ConfigDict(sampler)
    if 'prior_bank' in content:
        content['prior_bank']['sampler'] = describe_sampler(sampler)
    content['meta']['cfg'] = Config(dict(cfg)).pretty_text
    with replace_file(out_file) as file:
        torch.save(content, file)
    return fitted


def _open_bank(
    content: Checkpoint,
    cfg: Config | ConfigDict,
    prior_dim: int,
    bank_file: str | Path | None,
    whole_bank: bool,
) -> PriorBank:
    file = bank_file or find_bank_file(cfg)
    if not file:
        raise ValueError('the config of the checkpoint names no bank; name it by --bank-file')
    bank = PriorBank.open(file)
    if bank.prior_dim != prior_dim:
        raise ValueError(
            f'the GAN takes {prior_dim}-d priors but {bank} holds {bank.prior_dim}-d ones; '
            'name the bank of its training by --bank-file'
        )
    bank.verify()
    if cfg.get('encoder'):
        check_encoder(bank, cfg['encoder'])
    if not whole_bank:
        dataset = DATASETS.build(cfg['train_dataloader']['dataset'])
        bank = bank.restrict_to(list_images(dataset).keys)
        trained_on = content.get('prior_bank', {}).get('fingerprint')
        if trained_on not in (None, bank.fingerprint):
            raise ValueError(
                f'{bank} is not the bank that this GAN was trained with: its data or its encoder '
                'have changed since; name the right one by --bank-file'
            )
    return bank
