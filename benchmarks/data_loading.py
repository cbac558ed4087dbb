r"""Measure what data costs a training: its share of iterations, and a loader beside bare decoding.

python benchmarks/data_loading.py configs/disp_sngan_digits.py --data-root data/digits
python benchmarks/data_loading.py configs/disp_biggan_folder.py --num-images 10000 --size 128 \
    --iters 4

Without --data-root, JPEGs of random blobs are written. Priors are random. Printed are

- decode_per_s: images a second by decoding, cropping and resizing alone, in this process
- first_pass_per_s, later_per_s: the same by the training's loader, without a training, in its first
  pass over the images (at most 2,000) and then (2,000); ms_later is its time for a batch
- ms_preprocess: what moving, stacking and normalizing a batch takes, which the step does
- data_share: what mmengine logs as data_time over what it logs as time in the last two thirds of
  --iters iterations of a real run: the tenth percentile of either, which other work on the machine
  disturbs least; ms_iter is that of an iteration
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

import disp_plugin.register  # noqa: F401
from disp_plugin.datasets import ImageFolderDataset
from disp_plugin.priors import PriorBank

NUM_TIMED = 2000


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--data-root', help='folder of images (default: written for the purpose)')
    parser.add_argument('--num-images', type=int, default=1000, help='images to write')
    parser.add_argument('--size', type=int, help='side of images (default: of the config)')
    parser.add_argument('--workers', type=int, help='of the loader (default: of the config)')
    parser.add_argument('--cache-memory', type=float, help='of the data set (default: its own)')
    parser.add_argument('--iters', type=int, default=60)
    return parser.parse_args(argv)


def write_images(folder, num, size):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for row in range(num):
        blobs = Image.fromarray(rng.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8))
        blobs.resize((size, size), Image.Resampling.BICUBIC).save(folder / f'{row:06d}.jpg')


def load_config(args, folder):
    """Take of a config what makes images and a step; hooks that need a fitted sampler are left."""
    cfg = Config.fromfile(args.config)
    data, dataset = cfg.train_dataloader, cfg.train_dataloader.dataset
    size = args.size or dataset.image_size
    if args.data_root is None:
        write_images(folder / 'images', args.num_images, size)
    dataset.update(data_root=args.data_root or str(folder / 'images'), image_size=size)
    cfg.model.update(image_size=size, prior_norm='none')
    if args.workers is not None:
        data.num_workers = args.workers
    if args.cache_memory is not None:
        dataset.cache_memory = args.cache_memory
    keys = ImageFolderDataset(dataset.data_root, dataset.get('ann_file', '')).image_keys
    shape = len(keys), 1 + dataset.get('flip', False), cfg.model.prior_dim
    dataset.bank_file = str(folder / 'bank.safetensors')
    PriorBank(keys, np.random.default_rng(0).random(shape, np.float32)).save(dataset.bank_file)
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if 'State' in hook.type]
    cfg.default_hooks.pop('visualization')
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, save_last=False)
    cfg.default_hooks.checkpoint.update(interval=10**9)
    for name in ('val', 'test'):
        cfg.merge_from_dict({f'{name}_cfg': None, f'{name}_evaluator': None})
        cfg[f'{name}_dataloader'] = None
    cfg.train_cfg.max_iters, cfg.work_dir, cfg.log_level = args.iters, str(folder), 'WARNING'
    return cfg


def time_decoding(dataset):
    rows = range(min(len(dataset), 500))
    start = time.perf_counter()
    for row in rows:
        dataset.view(row)
    return len(rows) / (time.perf_counter() - start)


def time_loader(loader):
    """Give images a second of the first pass and of one after it, and a batch."""
    size = loader.batch_size
    loader.dataset.keep_images()
    batches, rates = iter(loader), []
    total = len(loader.dataset)
    first = max(1, min(total, NUM_TIMED) // size)
    for skipped, num in ((0, first), (-(-total // size) - first, NUM_TIMED // size)):
        for _ in range(skipped):
            next(batches)
        start = time.perf_counter()
        for _ in range(num):
            batch = next(batches)
        rates.append(num * size / (time.perf_counter() - start))
    return *rates, batch


def time_preprocessing(model, batch):
    times = []
    for _ in range(10):
        start = time.perf_counter()
        model.data_preprocessor(dict(batch), True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(argv=None):
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        cfg = load_config(args, Path(folder))
        runner = Runner.from_cfg(cfg)
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        decode = time_decoding(loader.dataset)
        first, later, batch = time_loader(loader)
        preprocess = time_preprocessing(runner.model, batch)
        del loader
        runner.train()
        logged = runner.message_hub.log_scalars
        took, data = (np.array(logged[f'train/{name}'].data[0]) for name in ('time', 'data_time'))
        last = slice(args.iters // 3, None)
        iteration, loading = (float(np.percentile(values[last], 10)) for values in (took, data))
        result = dict(
            config=args.config,
            threads=torch.get_num_threads(),
            num_workers=cfg.train_dataloader.num_workers,
            batch_size=cfg.train_dataloader.batch_size,
            decode_per_s=round(decode),
            first_pass_per_s=round(first),
            later_per_s=round(later),
            later_to_decode=round(later / decode, 1),
            ms_later=round(cfg.train_dataloader.batch_size / later * 1e3, 2),
            ms_preprocess=round(preprocess * 1e3, 2),
            ms_iter=round(iteration * 1e3, 1),
            data_share=round(loading / iteration, 4),
        )
    print(json.dumps(result))


if __name__ == '__main__':
    main()
