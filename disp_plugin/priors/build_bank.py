"""Build a bank: check the images of a data set, encode them, write their priors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from .bank_file import write_bank_file
from .build_plan import BuildPlan, check_space, open_if_current, plan_build
from .check_views import check_views
from .encode_views import encode_views, load_batches
from .key_index import KeyIndex
from .partial_bank import PartialBank, partial_path
from .prior_bank import PriorBank
from .training_view import TrainingView


def build_bank(
    cfg_or_dataset: Any,
    encoder: Any,
    bank_file: str | Path,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    amp: bool | str | None = None,
    dtype: str = 'float32',
    progress: bool = True,
    num_workers: int | None = None,
    overwrite: bool = False,
) -> PriorBank:
    """Encode every image of a data set, as training shows it, and write the bank of its priors.

    First every image is decoded once, and all bad ones are reported together. Then batches of
    decoded images are encoded while others are decoded, and each batch is on disk, in
    ``<bank_file>.part``, before the next: a build that was stopped goes on where it was when it
    is called again, and gives the same bank bit for bit (with the same ``batch_size``). The bank
    itself appears only complete. One that is up to date is opened as it is.

    Args:
        cfg_or_dataset (Config | dict | Dataset): A run's config (its
            ``train_dataloader.dataset`` is encoded), the config of a data set, or a data set.
        encoder (PriorEncoder | dict): The encoder or its config.
        bank_file (str | Path): File to write.
        batch_size (int): Views (images times flip views) in a forward. Defaults to 64.
        device (str | torch.device, optional): Where the encoder runs; it is moved there. Defaults
            to None: a GPU if there is one.
        amp (bool | str, optional): Autocast to 'float16' (the same as True) or 'bfloat16'. Defaults
            to None: float16 on a GPU, no autocast on CPU. Priors come out as float32 anyway.
        dtype (str): How priors are stored, 'float32' or 'float16'. Defaults to 'float32'.
        progress (bool): Whether to draw progress bars on a terminal. Defaults to True.
        num_workers (int, optional): Processes that decode; 0: none. Defaults to None: by cores.
        overwrite (bool): Whether a bank of other data or of another encoder, or a damaged one,
            may be replaced. Defaults to False.

    Returns:
        PriorBank: The bank, opened.

    Raises:
        ValueError: Bad images (all are listed), a pipeline that draws at random, a prior that is
            not finite, options out of range, or another bank or file in the place of it.
        BankWriteError: No permission or no space.
    """
    plan = plan_build(
        cfg_or_dataset, encoder, bank_file, batch_size, device, amp, dtype, num_workers
    )
    bank = open_if_current(plan, overwrite)
    if bank is not None:
        # Left where a build was stopped between its last two steps.
        partial_path(bank_file).unlink(missing_ok=True)
        return bank
    # At the end, rows and bank are both on disk.
    check_space(plan.bank_file, 2 * plan.count_bytes(len(plan.view)))
    with encode_part(plan, plan.view, bank_file, plan.identity, progress) as partial:
        write_bank(plan, partial.blocks)
        partial.remove()
    return PriorBank.open(bank_file)


@contextmanager
def encode_part(
    plan: BuildPlan,
    view: TrainingView,
    bank_file: str | Path,
    identity: dict[str, str],
    progress: bool,
    first_row: int = 0,
) -> Iterator[PartialBank]:
    """Check and encode images of a plan, or what an earlier build left of them.

    Args:
        plan (BuildPlan): The bank to be.
        view (TrainingView): The images, all or a share.
        bank_file (str | Path): Names the partial file.
        identity (dict[str, str]): What the rows belong to.
        progress (bool): Whether to draw progress bars on a terminal.
        first_row (int): Row in the whole bank of the view's first image. Defaults to 0.

    Yields:
        PartialBank: All rows; closed behind the block, and deleted only if it is empty.
    """
    partial = PartialBank(bank_file, identity, plan.shape[1:], plan.dtype)
    if partial.discarded:
        print_log(f'{partial.path} of an earlier build is not used: {partial.discarded}')
    if partial.num_done:
        print_log(f'going on at image {partial.num_done} of {len(view)} ({partial.path})')
    workers, device = plan.num_workers, plan.device
    try:
        if not partial.num_done:
            check_views(view, workers, progress)
        start, size = partial.num_done, plan.batch_images
        batches = load_batches(view, start, size, workers, device, progress)
        encode_views(plan.encoder, batches, partial, view, device, plan.amp_dtype, first_row)
        yield partial
    finally:
        if not partial.num_done:
            partial.remove()
        partial.close()


def write_bank(plan: BuildPlan, blocks: Callable[[], Iterable[np.ndarray]]) -> None:
    """Write the bank of a plan.

    Args:
        plan (BuildPlan): The bank to be.
        blocks (Callable[[], Iterable[np.ndarray]]): Gives its rows in order.

    Raises:
        BankWriteError: No permission or no space.
    """
    keys, sizes, dtype = KeyIndex.from_keys(plan.view.keys), plan.file_sizes, plan.dtype
    write_bank_file(plan.bank_file, keys, sizes, plan.origin, blocks, plan.shape, dtype)
