"""Measure a bank: looking priors up at scale, and building beside the bare forward.

python benchmarks/bank.py scale --rows 10000 100000 1000000 --dim 2048
python benchmarks/bank.py build --encoder '{"type": "TorchvisionEncoder", ...}'

scale: banks of random priors are written block by block, opened and looked up at random in a
process of their own, and deleted. Reported for each: seconds to open (the first time, and the best
of five more), the anonymous memory (RssAnon: without pages of the file) that 100,000 random
look-ups added, and look-ups a second in batches of 64: those that touch pages for the first time,
and once all is cached, as medians over turns; 'last_against_first' is the median ratio of the last
bank's rate to the first one's within a turn.

build: images of random blobs are written as JPEG. Then, in turns, the bare network runs over
batches that are already decoded, resized, normalized and channels last, and a bank of the same
images is built. Reported are medians over neighboring turns: 'ratio' compares decoding, encoding
and storing with the bare forward; 'ratio_with_check' counts the check of all images as well, which
runs once, before anything is encoded.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BATCH_SIZE = 64
BLOCK_ROWS = 4096
NUM_LOOKUPS = 100_000
ROUNDS = 5
SCALE_TO_REACH = dict(open_seconds=0.2, lookups_per_s=50_000, rss_anon_megabytes=200)
BUILD_TO_REACH = 0.95


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    scale = commands.add_parser('scale')
    scale.add_argument('--rows', type=int, nargs='+', default=[10_000, 100_000, 1_000_000])
    scale.add_argument('--dim', type=int, default=2048)
    scale.add_argument('--folder', help='where banks are written (default: temporary)')
    scale.add_argument('--measure', nargs='+', help=argparse.SUPPRESS)
    build = commands.add_parser('build')
    build.add_argument(
        '--encoder',
        help='config as JSON, or a network of timm, untrained (default: vgg16 fc7, likewise)',
    )
    build.add_argument('--num-images', type=int, default=512)
    build.add_argument('--file-size', type=int, default=256, help='side of the files, in pixels')
    build.add_argument('--image-size', type=int, default=128, help='side of what is encoded')
    build.add_argument('--batch-size', type=int, default=64)
    build.add_argument('--rounds', type=int, default=5)
    build.add_argument('--workers', type=int)
    build.add_argument('--flip', action='store_true')
    build.add_argument('--device')
    return parser.parse_args(argv)


def name_image(row: int) -> str:
    """Name an image as large data sets do: a folder of a thousand, and a number."""
    return f'train/{row // 1000:05d}/image_{row:09d}.jpg'


def write_random_bank(file: Path, num_rows: int, dim: int) -> None:
    """Write a bank of random float16 priors, of which no more than a block is in memory."""
    import numpy as np

    from disp_plugin.priors import BankOrigin
    from disp_plugin.priors.prior_bank import pack_keys, write_bank

    def blocks() -> Iterator[Any]:
        rng = np.random.default_rng(0)
        # Noise is dear; each block is the first, shifted, with its rows' numbers in front.
        noise = rng.random((BLOCK_ROWS, 1, dim), dtype=np.float32).astype(np.float16)
        for start in range(0, num_rows, BLOCK_ROWS):
            block = np.roll(noise, start // BLOCK_ROWS, axis=0)[: num_rows - start]
            rows = np.arange(start, start + len(block))
            block[:, 0, 0], block[:, 0, 1] = rows // 1000, rows % 1000
            yield block

    keys = pack_keys(list(map(name_image, range(num_rows))))
    sizes, dtype = np.zeros(num_rows, dtype=np.int64), np.dtype(np.float16)
    write_bank(file, keys, sizes, BankOrigin(), blocks(), (num_rows, 1, dim), dtype)


def anonymous_megabytes() -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('RssAnon')) / 1024


def time_lookups(bank: Any, seed: int, num: int) -> float:
    """Look up random keys in batches, and give how many a second."""
    import numpy as np

    rows = np.random.default_rng(seed).integers(0, len(bank), (num // BATCH_SIZE, BATCH_SIZE))
    seconds = 0.0
    for batch in rows.tolist():
        keys = [name_image(row) for row in batch]
        start = time.perf_counter()
        priors = bank.lookup(keys)
        seconds += time.perf_counter() - start
        found = priors[:, 0].double() * 1000 + priors[:, 1].double()
        if found.tolist() != batch:
            raise RuntimeError(f'rows {batch} were looked up, but {found.tolist()} came')
    return rows.size / seconds


def measure_bank(file: str) -> tuple[Any, dict[str, Any]]:
    """Open a bank and look priors up for the first time."""
    from disp_plugin.priors import PriorBank

    opened = []
    for _ in range(6):
        start = time.perf_counter()
        bank = PriorBank.open(file)
        opened.append(time.perf_counter() - start)
    time_lookups(bank, 1, BATCH_SIZE)  # what torch itself allocates at its first use
    before = anonymous_megabytes()
    first = time_lookups(bank, 2, NUM_LOOKUPS)
    return bank, {
        'rows': bank.num_images,
        'dim': bank.prior_dim,
        'file_gigabytes': round(os.path.getsize(file) / 1e9, 3),
        'open_seconds_first': round(opened[0], 5),
        'open_seconds': round(min(opened[1:]), 5),
        'rss_anon_megabytes': round(anonymous_megabytes() - before, 1),
        'lookups_per_s_first_touch': round(first),
    }


def measure_banks(files: list[str]) -> dict[str, Any]:
    """Measure banks, their look-ups in turns, so that other work on the machine hits all."""
    banks, results = zip(*map(measure_bank, files), strict=True)
    rates = [[time_lookups(bank, 2, NUM_LOOKUPS) for bank in banks] for _ in range(ROUNDS)]
    for number, result in enumerate(results):
        result['lookups_per_s'] = round(statistics.median(turn[number] for turn in rates))
    ratio = statistics.median(turn[-1] / turn[0] for turn in rates)
    return {'banks': results, 'last_against_first': round(ratio, 2), 'to_reach': SCALE_TO_REACH}


def scale(args: argparse.Namespace) -> None:
    if args.measure:
        print(json.dumps(measure_banks(args.measure), indent=1))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        files = [str(Path(folder) / f'{num_rows}.safetensors') for num_rows in args.rows]
        for file, num_rows in zip(files, args.rows, strict=True):
            write_random_bank(Path(file), num_rows, args.dim)
        # In a new process, whose memory is that of looking up.
        subprocess.run([sys.executable, __file__, 'scale', '--measure', *files], check=True)


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
    import torch
    import torchvision
    from mmagic.registry import MODELS

    if text is not None:
        if not text.startswith('{'):
            return MODELS.build(dict(type='TimmEncoder', model=text, untrained=True))
        return MODELS.build(json.loads(text))
    checkpoint = folder / 'vgg16.pth'
    torch.save(torchvision.models.vgg16(weights=None).state_dict(), checkpoint)
    return MODELS.build(
        dict(type='TorchvisionEncoder', model='vgg16', layer='fc7', checkpoint=str(checkpoint))
    )


def time_forward(encoder: Any, batches: list[Any]) -> float:
    """Time the bare network over batches that are decoded, resized and normalized."""
    import torch

    device, dtype = batches[0].device, encoder.dtype
    start = time.perf_counter()
    with torch.inference_mode(), torch.autocast(device.type, dtype, dtype != torch.float32):
        for batch in batches:
            encoder.extract(batch)
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure_build(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the bare forward, the build and the check in turns."""
    import numpy as np
    import torch
    from mmengine.logging import MMLogger

    from disp_plugin.datasets import ImageFolderDataset, check_views
    from disp_plugin.datasets.image_views import choose_num_workers, stack_views
    from disp_plugin.priors import build_bank

    MMLogger.get_instance('bank', log_level='WARNING')
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    images = folder / 'images'
    images.mkdir()
    write_images(images, args.num_images, args.file_size)
    dataset = ImageFolderDataset(str(images), image_size=args.image_size, flip=args.flip)
    encoder = make_encoder(args.encoder, folder).to(device)
    encoder.fingerprint()
    views = np.concatenate([stack_views(dataset, index) for index in range(len(dataset))])
    pixels = torch.from_numpy(views).permute(0, 3, 1, 2)
    batches = [
        encoder.preprocessing(batch.float().div_(255)).contiguous(memory_format=torch.channels_last)
        for batch in pixels.to(device).split(args.batch_size)
    ]
    workers = args.workers
    if workers is None:
        workers = choose_num_workers(len(dataset), device.type == 'cuda')
    time_forward(encoder, batches[:2])
    forwards, builds, checks = [], [], []
    for _ in range(args.rounds):
        forwards.append(time_forward(encoder, batches))
        (folder / 'bank').unlink(missing_ok=True)
        start = time.perf_counter()
        settings = dict(batch_size=args.batch_size, device=device)
        build_bank(dataset, encoder, folder / 'bank', workers, progress=False, **settings)
        builds.append(time.perf_counter() - start)
        start = time.perf_counter()
        check_views(dataset, num_workers=workers, progress=False)
        checks.append(time.perf_counter() - start)
    encodings = [build - check for build, check in zip(builds, checks, strict=True)]
    return {
        'encoder': encoder.architecture,
        'device': torch.cuda.get_device_name(device) if device.type == 'cuda' else 'cpu',
        'threads': torch.get_num_threads(),
        'images': args.num_images,
        'views': 1 + args.flip,
        'forward_images_per_s': round(args.num_images / statistics.median(forwards), 1),
        'build_images_per_s': round(args.num_images / statistics.median(builds), 1),
        'ratio': median_ratio(forwards, encodings),
        'ratio_with_check': median_ratio(forwards, builds),
        'to_reach': BUILD_TO_REACH,
    }


def median_ratio(forwards: list[float], others: list[float]) -> float:
    """Give the median of forward time through the other's, over neighboring turns."""
    return round(statistics.median(f / o for f, o in zip(forwards, others, strict=True)), 3)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.command == 'scale':
        scale(args)
        return
    import disp_plugin.register  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure_build(args, Path(folder))))


if __name__ == '__main__':
    main()
