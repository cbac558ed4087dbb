"""Measure what building a bank costs beside the bare forward of its encoder.

python benchmarks/bank_throughput.py --encoder '{"type": "TorchvisionEncoder", ...}'

Images of random blobs are written as JPEG. Then, in turns, the bare encoder runs over batches that
are already decoded, and a bank of the same images is built. Reported are medians over neighboring
turns: 'ratio' compares decoding, encoding and storing with the bare forward; 'ratio_with_check'
counts the check of all images as well, which runs once, before anything is encoded.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

TO_REACH = 0.9


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--encoder', help='config as JSON (default: vgg16 fc7, random weights)')
    parser.add_argument('--num-images', type=int, default=512)
    parser.add_argument('--file-size', type=int, default=256, help='side of the files, in pixels')
    parser.add_argument('--size', type=int, default=128, help='side of what the encoder sees')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--workers', type=int)
    parser.add_argument('--flip', action='store_true')
    parser.add_argument('--device')
    return parser.parse_args(argv)


def write_images(folder: Path, num: int, size: int) -> None:
    """Write JPEGs that cost about as much to decode as photographs."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for index in range(num):
        coarse = rng.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        image.save(folder / f'{index:06d}.jpg', quality=92)


def make_encoder(text: str | None, folder: Path) -> Any:
    from mmagic.registry import MODELS

    if text is not None:
        return MODELS.build(json.loads(text))
    import torch
    import torchvision

    checkpoint = folder / 'vgg16.pth'
    torch.save(torchvision.models.vgg16(weights=None).state_dict(), checkpoint)
    return MODELS.build(
        dict(type='TorchvisionEncoder', model='vgg16', layer='fc7', checkpoint=str(checkpoint))
    )


def decode_all(dataset: Any, batch_size: int, device: Any) -> list[Any]:
    """Decode every view, as uint8 on the device."""
    import numpy as np
    import torch

    from disp_plugin.priors import TrainingView

    view = TrainingView(dataset)
    pixels = torch.from_numpy(np.concatenate([view[row] for row in range(len(view))]))
    return list(pixels.permute(0, 3, 1, 2).to(device).split(batch_size))


def time_forward(encoder: Any, batches: list[Any], amp_dtype: Any) -> float:
    """Time the bare forward over decoded batches."""
    import torch

    device = batches[0].device
    start = time.perf_counter()
    with torch.inference_mode(), torch.autocast(device.type, amp_dtype, amp_dtype is not None):
        for batch in batches:
            encoder(batch.float().div_(255))
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_build(
    cfg: dict[str, Any], encoder: Any, bank_file: Path, args: argparse.Namespace
) -> float:
    """Time the building of a bank, with the check of all images, from config to file."""
    from disp_plugin.priors import build_bank

    bank_file.unlink(missing_ok=True)
    start = time.perf_counter()
    build_bank(
        cfg,
        encoder,
        bank_file,
        args.batch_size,
        device=args.device,
        progress=False,
        num_workers=args.workers,
    )
    return time.perf_counter() - start


def time_check(dataset: Any, args: argparse.Namespace) -> float:
    """Time the check of all images alone."""
    from disp_plugin.priors import TrainingView
    from disp_plugin.priors.check_views import check_views
    from disp_plugin.priors.load_views import choose_num_workers

    view = TrainingView(dataset)
    workers = args.workers
    if workers is None:
        workers = choose_num_workers(len(view), args.device.startswith('cuda'))
    start = time.perf_counter()
    check_views(view, workers, progress=False)
    return time.perf_counter() - start


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all in turns."""
    import torch
    from mmagic.registry import DATASETS
    from mmengine.logging import MMLogger

    from disp_plugin.priors.build_plan import choose_amp

    MMLogger.get_instance('bank_throughput', log_level='WARNING')
    device = torch.device(args.device)
    images = folder / 'images'
    images.mkdir()
    write_images(images, args.num_images, args.file_size)
    cfg = dataset_config(images, args)
    dataset = DATASETS.build(cfg)
    encoder = make_encoder(args.encoder, folder).to(device)
    encoder.fingerprint()
    batches = decode_all(dataset, args.batch_size, device)
    amp_dtype = choose_amp(None, device)
    time_forward(encoder, batches[:2], amp_dtype)
    forwards, builds, checks = [], [], []
    for _ in range(args.rounds):
        forwards.append(time_forward(encoder, batches, amp_dtype))
        builds.append(time_build(cfg, encoder, folder / 'bank', args))
        checks.append(time_check(dataset, args))
    encodings = [build - check for build, check in zip(builds, checks, strict=True)]
    return {
        'encoder': encoder.architecture,
        'device': torch.cuda.get_device_name(device) if device.type == 'cuda' else 'cpu',
        'threads': torch.get_num_threads(),
        'images': args.num_images,
        'views': 2 if args.flip else 1,
        'forward_images_per_s': round(args.num_images / statistics.median(forwards), 1),
        'build_images_per_s': round(args.num_images / statistics.median(builds), 1),
        'ratio': median_ratio(forwards, encodings),
        'ratio_with_check': median_ratio(forwards, builds),
        'to_reach': TO_REACH,
    }


def median_ratio(forwards: list[float], others: list[float]) -> float:
    """Give the median of forward time through the other's, over neighboring turns."""
    return round(statistics.median(f / o for f, o in zip(forwards, others, strict=True)), 3)


def dataset_config(images: Path, args: argparse.Namespace) -> dict[str, Any]:
    """State the data set, as configs/disp_biggan_folder.py does."""
    scale = (args.size, args.size)
    flip = [dict(type='Flip', keys='gt', flip_ratio=0.5)] if args.flip else []
    pipeline = [
        dict(type='LoadTrainingImage'),
        dict(type='CenterCropLongEdge', keys='gt'),
        dict(type='Resize', keys='gt', scale=scale, interpolation='bicubic', backend='pillow'),
        *flip,
    ]
    return dict(type='ImageFolderDataset', data_root=str(images), pipeline=pipeline)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    import torch

    import disp_plugin.register  # noqa: F401

    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    print(json.dumps(result))
    print(
        '| {encoder} | {device} | {images} x {views} | {forward_images_per_s} | '
        '{build_images_per_s} | {ratio} | {ratio_with_check} |'.format(**result)
    )


if __name__ == '__main__':
    main()
