"""What a build of a bank will do, settled before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.registry import DATASETS, MODELS
from mmengine.logging import print_log

from disp_plugin.files import get_free_bytes

from .bank_errors import BankWriteError, DamagedBankError
from .bank_origin import BankOrigin
from .check_origin import simplify_config
from .load_views import choose_num_workers
from .prior_bank import PriorBank
from .training_view import TrainingView

_DTYPES = {'float16': np.float16, 'float32': np.float32}
_AMP_DTYPES = {'float16': torch.float16, 'bfloat16': torch.bfloat16}


@dataclass(frozen=True)
class BuildPlan:
    """A bank to be.

    Attributes:
        bank_file (Path): File to write.
        view (TrainingView): M images in V views.
        file_sizes (np.ndarray): (M,) int64.
        encoder (PriorEncoder): The encoder, D its ``prior_dim``.
        origin (BankOrigin): What the priors are made from.
        batch_images (int): Images in a forward.
        device (torch.device): Where the encoder runs.
        amp_dtype (torch.dtype | None): Type of autocast.
        dtype (np.dtype): How priors are stored.
        num_workers (int): Processes that decode.
    """

    bank_file: Path
    view: TrainingView
    file_sizes: np.ndarray
    encoder: Any
    origin: BankOrigin
    batch_images: int
    device: torch.device
    amp_dtype: torch.dtype | None
    dtype: np.dtype
    num_workers: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """tuple[int, int, int]: (M,V,D)."""
        return (len(self.view), self.view.num_views, self.encoder.prior_dim)

    @property
    def identity(self) -> dict[str, str]:
        """dict[str, str]: What rows of an earlier, stopped build must share to be used."""
        return {
            'encoder': self.origin.encoder_fingerprint,
            'data set': self.origin.dataset_fingerprint,
            'precision': self.origin.precision,
        }

    def count_bytes(self, num_images: int) -> int:
        """Say how long the rows of some images are.

        Args:
            num_images (int): How many.

        Returns:
            int: Bytes.
        """
        return num_images * int(np.prod(self.shape[1:])) * self.dtype.itemsize


def plan_build(
    cfg_or_dataset: Any,
    encoder: Any,
    bank_file: str | Path,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    amp: bool | str | None = None,
    dtype: str = 'float32',
    num_workers: int | None = None,
) -> BuildPlan:
    """List the images, build the encoder and settle the rest.

    Args:
        cfg_or_dataset (Config | dict | Dataset): As for ``build_bank``.
        encoder (PriorEncoder | dict): The encoder or its config.
        bank_file (str | Path): File to write.
        batch_size (int): Views in a forward. Defaults to 64.
        device (str | torch.device, optional): Where the encoder runs. Defaults to None: a GPU if
            there is one.
        amp (bool | str, optional): As for ``build_bank``. Defaults to None.
        dtype (str): 'float32' or 'float16'. Defaults to 'float32'.
        num_workers (int, optional): Processes that decode. Defaults to None: by cores.

    Returns:
        BuildPlan: The plan.

    Raises:
        ValueError: Options out of range, or a pipeline that draws at random.
    """
    _check_options(dtype, batch_size)
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    amp_dtype = choose_amp(amp, device)
    view = TrainingView(make_dataset(cfg_or_dataset))
    view.check_deterministic()
    encoder, encoder_config = make_encoder(encoder)
    file_sizes = view.file_sizes()
    origin = BankOrigin(
        encoder=dict(encoder.describe()),
        encoder_fingerprint=encoder.fingerprint(),
        encoder_config=encoder_config,
        pipeline=view.steps,
        dataset_fingerprint=view.fingerprint(file_sizes),
        precision=str(amp_dtype or torch.float32).removeprefix('torch.'),
    )
    if num_workers is None:
        num_workers = choose_num_workers(len(view), device.type == 'cuda')
    return BuildPlan(
        bank_file=Path(bank_file),
        view=view,
        file_sizes=file_sizes,
        encoder=encoder,
        origin=origin,
        batch_images=max(1, batch_size // view.num_views),
        device=device,
        amp_dtype=amp_dtype,
        dtype=np.dtype(_DTYPES[dtype]),
        num_workers=num_workers,
    )


def make_dataset(cfg_or_dataset: Any) -> Any:
    """Build the data set to encode.

    Args:
        cfg_or_dataset (Config | dict | Dataset): A run's config, a data set's config, or a built
            data set.

    Returns:
        Dataset: The data set.

    Raises:
        ValueError: A config with neither ``train_dataloader.dataset`` nor a data set's ``type``.
    """
    if not isinstance(cfg_or_dataset, Mapping) and not hasattr(cfg_or_dataset, '_cfg_dict'):
        return cfg_or_dataset
    cfg = cfg_or_dataset
    if 'train_dataloader' in cfg:
        cfg = cfg['train_dataloader']['dataset']
    if 'type' not in cfg:
        raise ValueError(
            "the config has neither train_dataloader.dataset nor a data set's type; give the "
            'config that you train with'
        )
    return DATASETS.build(cfg)


def make_encoder(encoder: Any) -> tuple[Any, dict[str, Any] | None]:
    """Build the encoder.

    Args:
        encoder (PriorEncoder | Mapping): The encoder or its config.

    Returns:
        tuple[PriorEncoder, dict | None]: The encoder, and its config where there was one.
    """
    if not isinstance(encoder, Mapping):
        return encoder, None
    return MODELS.build(dict(encoder)), simplify_config(encoder)


def choose_amp(amp: bool | str | None, device: torch.device) -> torch.dtype | None:
    """Choose the type of autocast.

    Args:
        amp (bool | str | None): As for ``build_bank``.
        device (torch.device): Where the encoder runs.

    Returns:
        torch.dtype | None: None for no autocast.

    Raises:
        ValueError: An unknown type.
    """
    if amp is None:
        amp = device.type == 'cuda'
    if isinstance(amp, bool):
        return torch.float16 if amp else None
    if amp not in _AMP_DTYPES:
        raise ValueError(f"amp must be a bool, 'float16' or 'bfloat16', but is {amp!r}")
    return _AMP_DTYPES[amp]


def _check_options(dtype: str, batch_size: int) -> None:
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be 'float32' or 'float16', but is {dtype!r}")
    if batch_size < 1:
        raise ValueError(f'batch_size must be at least 1, but is {batch_size}')


def open_if_current(plan: BuildPlan, overwrite: bool) -> PriorBank | None:
    """Open the bank that is there if it is the one to build; refuse to replace another one.

    Args:
        plan (BuildPlan): The bank to build.
        overwrite (bool): Whether another bank or a damaged one may be replaced; if so, one that is
            there is read to its end, for damage that opening does not see.

    Returns:
        PriorBank | None: The bank; None where there is none, or one to replace.

    Raises:
        ValueError: Another bank or another file is there, and may not be replaced.
    """
    bank_file, origin = plan.bank_file, plan.origin
    if not Path(bank_file).exists():
        return None
    try:
        bank = PriorBank.open(bank_file)
        if overwrite:
            bank.verify()
    except DamagedBankError:
        if not overwrite:
            raise
        print_log(f'prior bank {bank_file} is damaged: replacing it')
        return None
    wanted = {
        'data': (bank.origin.dataset_fingerprint, origin.dataset_fingerprint),
        'encoder': (bank.origin.encoder_fingerprint, origin.encoder_fingerprint),
        'precision': (bank.origin.precision, origin.precision),
        'number of views': (bank.num_views, plan.view.num_views),
        'dtype': (bank.priors.dtype, plan.dtype),
    }
    other = [name for name, (there, wanted) in wanted.items() if there != wanted]
    if not other:
        print_log(f'prior bank {bank_file} is up to date')
        return bank
    if not overwrite:
        raise ValueError(
            f'prior bank {bank_file} is there already, with other {", ".join(other)} than would be '
            'built now; replace it with --overwrite, or write another file with --bank-file'
        )
    print_log(f'prior bank {bank_file} has other {", ".join(other)}: replacing it')
    return None


def check_space(bank_file: Path, num_bytes: int) -> None:
    """Refuse early where what is to be written cannot fit.

    Args:
        bank_file (Path): The bank's file.
        num_bytes (int): All that will be on disk beside what is there.

    Raises:
        BankWriteError: Less is free.
    """
    free = get_free_bytes(bank_file)
    if free < num_bytes:
        raise BankWriteError(
            f'no space left to build the prior bank {bank_file}: {num_bytes / 1e9:.2f} GB are '
            f'needed in {bank_file.absolute().parent}, {free / 1e9:.2f} GB are free; free some, '
            "store dtype='float16', or choose another place with --bank-file"
        )
