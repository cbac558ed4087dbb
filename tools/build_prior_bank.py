"""Build the bank of priors of a data set: run an encoder over every training image.

python tools/build_prior_bank.py configs/disp_biggan_folder.py --cfg-options data_root=my_photos
python tools/build_prior_bank.py --images my_photos --image-size 128 --flip --bank-file photos.bank

The second form needs no config: it states how the images are seen, for a run with another data set
than ImageFolderDataset.

Several processes share the work, each with parts of its own that it resumes; the last one to end
writes the bank. torchrun, Slurm's srun and MPI say which share is whose, or --shard does:

torchrun --nproc_per_node 8 tools/build_prior_bank.py CONFIG
python tools/build_prior_bank.py CONFIG --shard 3/8
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from disp_plugin.cli.options import add_shared, make_parser
from disp_plugin.precision import PRECISIONS


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', nargs='?', help='file of the config that you train with')
    parser.add_argument(
        '--bank-file', help="file to write (default: the bank_file of the config's data set)"
    )
    parser.add_argument('--workers', type=int, help='processes that decode (default: by cores)')
    parser.add_argument('--dtype', choices=['float32', 'float16'], default='float32')
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        help="of the encoder; a part of its fingerprint (default: the config's, else float32)",
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a bank of other data or another encoder'
    )
    parser.add_argument('--dry-run', action='store_true', help='say what would be done, and stop')
    add_shared(parser, '--cfg-options', '--device', '--debug')
    add_shared(parser, '--batch-size', batch_size='of a forward (default: 64)')
    parser.set_defaults(batch_size=64)
    group = parser.add_argument_group('by several processes')
    group.add_argument('--shard', metavar='I/N', help='encode the I-th of N shares, 1/N to N/N')
    group.add_argument(
        '--merge', action='store_true', help='encode nothing: write the bank from all parts'
    )
    group.add_argument(
        '--wait',
        type=float,
        default=0,
        metavar='MINUTES',
        help='let --merge wait for parts, but no longer than this while none comes (default: 0)',
    )
    group = parser.add_argument_group('without a config')
    group.add_argument('--images', metavar='FOLDER', help='folder of images, or a manifest in it')
    group.add_argument('--ann-file', default='', help='manifest: one image of the folder a line')
    group.add_argument('--image-size', type=int, default=128, help='of the crop (default: 128)')
    group.add_argument('--crop', choices=['center', 'none'], default='center')
    group.add_argument('--flip', action='store_true', help='priors of the flipped images as well')
    add_shared(group, '--white-level')
    default = 'type=TorchvisionEncoder model=vgg16'
    add_shared(group, '--encoder', encoder=f'config of the encoder (default: {default})')
    args = parser.parse_args(argv)
    if (args.config is None) == (args.images is None):
        parser.error('give either a config or --images')
    if args.images is not None and args.bank_file is None:
        parser.error('--images needs --bank-file, the file to write')
    if args.shard is not None and args.merge:
        parser.error('give either --shard or --merge')
    return args


class Task(NamedTuple):
    """What is to be encoded, by what, into which file."""

    dataset: Any
    encoder: Mapping[str, Any]
    bank_file: str


def settle(args: argparse.Namespace) -> Task:
    """Find data set, encoder and file of the bank, from the config or the options."""
    from mmengine.config import Config

    import disp_plugin.register  # noqa: F401
    from disp_plugin.cli.check_config import check_config
    from disp_plugin.cli.options import read_part
    from disp_plugin.datasets import ImageFolderDataset

    if args.config is None:
        dataset = ImageFolderDataset(
            args.images,
            args.ann_file,
            args.image_size,
            args.crop,
            args.flip,
            white_level=args.white_level,
        )
        given = {'type': 'TorchvisionEncoder', **(args.encoder or {'model': 'vgg16'})}
        encoder = read_part(given, '--encoder')
        check_config(Config(dict(encoder=encoder)), '--encoder')
        return Task(dataset, encoder, args.bank_file)
    from mmagic.registry import DATASETS

    from disp_plugin.cli.config import load_config
    from disp_plugin.priors import find_bank, open_dataset

    cfg = load_config(args.config, args.cfg_options)
    built = DATASETS.build(cfg.train_dataloader.dataset)
    bank_file = args.bank_file or find_bank(built)
    if cfg.get('encoder') is None or not bank_file:
        missing = 'encoder' if cfg.get('encoder') is None else 'train_dataloader.dataset.bank_file'
        raise ValueError(
            f'{args.config} needs no bank, as {missing} is None (an unconditional GAN); set it, or '
            'name another config'
        )
    return Task(open_dataset(built), cfg.encoder, str(bank_file))


def describe(task: Task) -> str:
    """Say what would be built."""
    dataset, keys = task.dataset, sorted(task.dataset.image_keys)
    state = 'there already' if Path(task.bank_file).exists() else 'to be written'
    if Path(f'{task.bank_file}.parts').exists():
        state += ', an earlier build goes on if it is of the same data'
    view = ', '.join(f'{name}={value}' for name, value in dataset.describe_view().items())
    return (
        f'images:   {len(keys)}, from {keys[0]} to {keys[-1]}\n'
        f'views:    {dataset.num_views} '
        f'({"as loaded, flipped" if dataset.num_views == 2 else "as loaded"}), {view}\n'
        f'encoder:  {dict(task.encoder)}\n'
        f'bank:     {task.bank_file} ({state})'
    )


def summarize(bank: Any, num_new: int, seconds: float) -> str:
    """Say what was built, and warn of priors that hardly differ."""
    lines = [
        f'bank:        {bank.path} ({bank.path.stat().st_size / 1e6:.1f} MB)',
        f'images:      {bank.num_images}, {bank.num_views} view(s) each',
        f'prior_dim:   {bank.prior_dim}',
    ]
    if num_new:
        rate = num_new / seconds
        lines.append(f'speed:       {rate:.1f} images/s ({seconds:.1f} s, loading included)')
    cosine = bank.mean_cosine()
    lines.append(f'mean cosine: {cosine:.2f} between the priors of two images')
    if cosine > 0.7:
        lines.append(
            'These priors are nearly parallel: conditions would hardly differ. Train with\n'
            "prior_norm='centered_l2' (--cfg-options model.prior_norm=centered_l2)."
        )
    return '\n'.join(lines)


def choose_shard(args: argparse.Namespace) -> Any:
    """Choose the share of this process: what was asked for, else by the launcher."""
    from disp_plugin.distributed import read_launch
    from disp_plugin.priors import Shard

    launch = read_launch()
    if launch.num_processes > 1 and args.device is None:
        import torch

        if torch.cuda.is_available():
            args.device = f'cuda:{launch.local_rank % torch.cuda.device_count()}'
    if args.shard is not None:
        return Shard.parse(args.shard)
    return Shard(launch.rank + 1, launch.num_processes)


def build(args: argparse.Namespace) -> None:
    shard = choose_shard(args)
    task = settle(args)
    if args.precision is not None:
        from mmengine.config import Config

        from disp_plugin.cli.check_config import check_config

        task = task._replace(encoder={**task.encoder, 'precision': args.precision})
        check_config(Config(dict(encoder=task.encoder)), '--precision')
    if args.dry_run:
        print(describe(task) + (f'\nshare:    {shard}' if shard.count > 1 else ''))
        return
    from disp_plugin.datasets import tell_odd_images
    from disp_plugin.priors import BankBuild

    if shard.number == 1 and not args.merge:
        tell_odd_images(task.dataset)
    start = time.perf_counter()
    bank_build = BankBuild(
        *task,
        batch_size=args.batch_size,
        device=args.device,
        dtype=args.dtype,
        overwrite=args.overwrite,
    )
    bank = bank_build.merge(60 * args.wait) if args.merge else bank_build.run(shard, args.workers)
    if bank is None:
        print(f'{shard} is done; the last one to end writes {task.bank_file}')
        return
    num_new = 0 if shard.count > 1 or args.merge else bank.num_images
    print(summarize(bank, num_new, time.perf_counter() - start))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    from disp_plugin.cli.errors import check_files, check_range, user_errors

    hint = 'Run the same command again: the build goes on where it was.'
    with user_errors(args.debug, resume_hint=hint):
        check_files(args)
        check_range(args, batch_size=1, workers=0, image_size=1)
        build(args)


if __name__ == '__main__':
    main(sys.argv[1:])
