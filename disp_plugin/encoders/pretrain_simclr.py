"""SimCLR on a folder of images: the self-supervised priors from one's own data."""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log

from disp_plugin.datasets import ImageFolderDataset, check_images, describe_bad_images

from .load_weights import read_checkpoint
from .simclr_run import SimCLROptions, SimCLRRun, describe_change


@dataclass(frozen=True)
class SimCLRResult:
    """What came out of a training.

    Attributes:
        file (Path): The encoder, for ``CheckpointEncoder(checkpoint=file)``.
        prior_dim (int): Length of its priors.
        num_images (int): Images that it was trained on.
        loss (float): Mean NT-Xent loss of the last epoch; ln(2 batch_size - 1) is chance.
        paired (float): Share of views of the last epoch whose nearest one, among all of their
            batch, was the other view of the same image.
        seconds (float): What this call took; 0 where the file was there.
    """

    file: Path
    prior_dim: int
    num_images: int
    loss: float
    paired: float
    seconds: float


def pretrain_simclr(
    data_root: str,
    out_file: str | Path,
    options: SimCLROptions | None = None,
    ann_file: str = '',
    num_workers: int = 0,
    device: str | None = None,
    amp: bool | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: bool = True,
    run_type: Callable[..., SimCLRRun] = SimCLRRun,
    details: Mapping[str, Any] | None = None,
) -> SimCLRResult:
    """Train an encoder on a folder of images by SimCLR, without any label.

    After every epoch the state is in ``<out_file>.part``; a training that was stopped goes on
    there, and on a CPU gives the same encoder, bit for bit, as one that was not, with any number of
    workers.

    Args:
        data_root (str): Folder of images.
        out_file (str | Path): File to write, ``.safetensors`` or any other name for ``torch.save``.
        options (SimCLROptions | None): How to train. Defaults to None.
        ann_file (str): Manifest of the images to use, as for ``ImageFolderDataset``. Defaults to
            ''.
        num_workers (int): Processes that make views; 0: none. Defaults to 0.
        device (str | None): Where to train. None is a GPU if there is one. Defaults to None.
        amp (bool | None): Autocast to float16, on a GPU only. None: on a GPU. Defaults to None.
        resume (bool): Whether to go on from ``<out_file>.part``. Defaults to True.
        overwrite (bool): Whether to replace a file of another training. Defaults to False.
        progress (bool): Whether to draw progress bars on a terminal. Defaults to True.
        run_type (type): What trains, for another training in the same way. Defaults to SimCLRRun.
        details (Mapping[str, Any] | None): What else such a training depends on; written into the
            file. Defaults to None.

    Returns:
        SimCLRResult: The file and how far the training came.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No or too few images, unreadable ones (all are listed), options out of range, or
            a file of another training in the place of ``out_file`` or of its partial state.
        OSError: ``out_file`` cannot be written.
    """
    started = time.monotonic()
    options = options or SimCLROptions()
    out_file = Path(out_file)
    dataset = ImageFolderDataset(data_root=data_root, ann_file=ann_file)
    paths = [info['gt_path'] for info in map(dataset.get_data_info, range(len(dataset)))]
    batch_size = _choose_batch_size(options.batch_size, len(paths), data_root)
    identity = {**asdict(options), 'batch_size': batch_size, 'images': _hash_files(dataset)}
    identity |= details or {}
    identity = json.loads(json.dumps(identity))  # as it is read back: no tuples
    if out_file.exists() and not overwrite:
        return _reuse(out_file, identity, len(paths))
    _check_writable(out_file)
    bad = check_images(paths, progress)
    if bad:
        raise ValueError(describe_bad_images(bad, len(paths)))
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    run = run_type(options, identity, device, amp)
    part_file = out_file.with_name(out_file.name + '.part')
    if resume and part_file.exists():
        run.load(part_file)
    run.train(paths, batch_size, num_workers, part_file, progress)
    run.export(out_file)
    part_file.unlink(missing_ok=True)
    seconds = time.monotonic() - started
    return SimCLRResult(out_file, run.prior_dim, len(paths), run.loss, run.paired, seconds)


def _choose_batch_size(batch_size: int | None, num_images: int, data_root: str) -> int:
    if num_images < 2:
        raise ValueError(
            f'an encoder is trained on many images, but {data_root!r} holds only {num_images}; it '
            'needs at least 2, and useful priors some hundreds'
        )
    if batch_size is not None and batch_size > num_images:
        raise ValueError(
            f'batch-size is {batch_size}, but {data_root!r} holds only {num_images} images; set it '
            f'to {num_images} or less'
        )
    return batch_size or min(256, num_images)


def _hash_files(dataset: ImageFolderDataset) -> str:
    digest = hashlib.sha256()
    for info in map(dataset.get_data_info, range(len(dataset))):
        size = Path(info['gt_path']).stat().st_size
        digest.update(f'{info["image_key"]}\0{size}\n'.encode())
    return digest.hexdigest()


def _reuse(out_file: Path, identity: dict, num_images: int) -> SimCLRResult:
    """Take the file that is there for the result if it is of the same training."""
    advice = 'give another name, or replace it with --overwrite'
    try:
        _, meta = read_checkpoint(out_file)
    except ValueError as error:
        raise ValueError(f'{out_file} exists and is no encoder; {advice}') from error
    if 'training' not in meta:
        raise ValueError(f'{out_file} exists and was not made by this tool; {advice}')
    change = describe_change(meta['training'], identity)
    if change:
        raise ValueError(f'{out_file} exists and is of another training ({change}); {advice}')
    print_log(f'{out_file} is up to date', logger='current')
    return SimCLRResult(
        out_file, meta['prior_dim'], num_images, meta['loss'], meta['paired'], seconds=0.0
    )


def _check_writable(out_file: Path) -> None:
    """Fail before the training, not after it."""
    if out_file.is_dir():
        raise ValueError(f'{out_file} is a folder; name a file in it')
    out_file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out_file.parent):
        pass
