"""Build the bank of priors of a data set: run an encoder over every training image.

python tools/build_prior_bank.py configs/disp_biggan_folder.py --cfg-options data_root=my_photos
python tools/build_prior_bank.py --data-root my_photos --size 128 --flip --out photos.safetensors

Several processes share the work, each with a file of its own that it resumes; the last one to end
writes the bank. torchrun, Slurm's srun and MPI say which share is whose, or --shard does:

torchrun --nproc_per_node 8 tools/build_prior_bank.py CONFIG
python tools/build_prior_bank.py CONFIG --shard 3/8
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    from disp_plugin.cli.parse_options import OptionsAction

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help='file of the config that you train with')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='fields of the config to change: data_root=photos encoder.layer=logits',
    )
    parser.add_argument(
        '--bank-file', '--out', help="file to write (default: the config's bank_file)"
    )
    parser.add_argument('--batch-size', type=int, default=64, help='of a forward (default: 64)')
    parser.add_argument('--workers', type=int, help='processes that decode (default: by cores)')
    parser.add_argument('--device', help='such as cpu or cuda:0 (default: a GPU if there is one)')
    parser.add_argument('--dtype', choices=['float32', 'float16'], default='float32')
    parser.add_argument(
        '--amp',
        choices=['auto', 'off', 'float16', 'bfloat16'],
        default='auto',
        help='autocast of the forward (default: auto, which is float16 on a GPU)',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a bank of other data or another encoder'
    )
    parser.add_argument('--dry-run', action='store_true', help='say what would be done, and stop')
    parser.add_argument('--debug', action='store_true', help='print the traceback of any error')
    group = parser.add_argument_group('by several processes')
    group.add_argument('--shard', metavar='I/N', help='encode the I-th of N shares, 1/N to N/N')
    group.add_argument('--merge', type=int, metavar='N', help='write the bank from N shards')
    group.add_argument(
        '--wait',
        type=float,
        default=0,
        metavar='MINUTES',
        help='let --merge wait for shards, but no longer than this while none grows (default: 0)',
    )
    group = parser.add_argument_group('without a config')
    group.add_argument('--data-root', help='folder of images')
    group.add_argument('--ann-file', default='', help='manifest: one image of the folder a line')
    group.add_argument('--encoder', metavar='JSON', help='config of the encoder as JSON')
    group.add_argument('--encoder-type', default='TorchvisionEncoder', help='in place of --encoder')
    group.add_argument('--model', help="the encoder's model (default of Torchvision: vgg16)")
    group.add_argument('--layer', help="the encoder's layer")
    group.add_argument('--checkpoint', help="local file of the encoder's weights")
    group.add_argument('--size', type=int, default=128, help='side of the crop (default: 128)')
    group.add_argument('--flip', action='store_true', help='priors of the flipped images as well')
    args = parser.parse_args(argv)
    if (args.config is None) == (args.data_root is None):
        parser.error('give either a config or --data-root')
    if args.data_root is not None and args.bank_file is None:
        parser.error('--data-root needs --out, the file to write')
    if args.shard is not None and args.merge is not None:
        parser.error('give either --shard or --merge')
    return args


def encoder_config(args: argparse.Namespace) -> dict[str, Any]:
    """State the encoder that the options name."""
    if args.encoder is not None:
        try:
            config = json.loads(args.encoder)
        except json.JSONDecodeError as error:
            raise ValueError(
                f'--encoder must be JSON such as {{"type": "TorchvisionEncoder", "model": "vgg16"}}'
                f', but is {args.encoder!r} ({error})'
            ) from error
        if not isinstance(config, dict) or 'type' not in config:
            raise ValueError(f'--encoder must be an object with a "type", but is {args.encoder!r}')
        return config
    options = {name: getattr(args, name) for name in ('model', 'layer', 'checkpoint')}
    if args.encoder_type == 'TorchvisionEncoder':
        options['model'] = options['model'] or 'vgg16'
    chosen = {name: value for name, value in options.items() if value is not None}
    return dict(type=args.encoder_type, **chosen)


def settle(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Find data set, encoder and file of the bank, from the config or the options."""
    import disp_plugin.register  # noqa: F401

    if args.config is None:
        from disp_plugin.datasets.folder_view import folder_view

        dataset = folder_view(args.data_root, args.size, args.ann_file, args.flip)
        return dataset, encoder_config(args), args.bank_file
    from disp_plugin.cli.resolve_config import load_config

    cfg = load_config(args.config, args.cfg_options)
    bank_file = args.bank_file or cfg.get('bank_file')
    if cfg.get('encoder') is None or not bank_file:
        missing = 'encoder' if cfg.get('encoder') is None else 'bank_file'
        raise ValueError(
            f'{args.config} has no {missing}, so that it needs no bank (an unconditional GAN), or '
            f'{missing} is to be set at its top level'
        )
    return cfg.train_dataloader.dataset, cfg.encoder, bank_file


def describe(dataset: Any, encoder: dict[str, Any], bank_file: str) -> str:
    """Say what would be built."""
    from disp_plugin.priors import TrainingView
    from disp_plugin.priors.build_plan import make_dataset
    from disp_plugin.priors.partial_bank import partial_path

    view = TrainingView(make_dataset(dataset))
    view.check_deterministic()
    state = 'there already' if Path(bank_file).exists() else 'to be written'
    if partial_path(bank_file).exists():
        state += ', an earlier build goes on if it is of the same data'
    steps = ', '.join(step['type'] for step in view.steps)
    return (
        f'images:   {len(view)}, from {view.keys[0]} to {view.keys[-1]}\n'
        f'views:    {view.num_views} ({"as loaded, flipped" if view.num_views == 2 else "one"})\n'
        f'pipeline: {steps}\n'
        f'encoder:  {dict(encoder)}\n'
        f'bank:     {bank_file} ({state})'
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
            'These priors are nearly parallel, so that conditions would hardly differ: train with\n'
            "prior_norm='centered_l2' (--cfg-options model.prior_norm=centered_l2)."
        )
    return '\n'.join(lines)


def choose_shard(args: argparse.Namespace) -> Any:
    """Settle the share of this process: what was asked for, else by the launcher; None for all."""
    from disp_plugin.distributed import read_launch
    from disp_plugin.priors import Shard

    if args.merge is not None:
        return None
    launch = read_launch()
    if args.shard is not None:
        shard = Shard.parse(args.shard)
    else:
        shard = Shard(launch.rank + 1, launch.num_processes)
    if launch.num_processes > 1 and args.device is None:
        import torch

        if torch.cuda.is_available():
            args.device = f'cuda:{launch.local_rank % torch.cuda.device_count()}'
    return shard if shard.count > 1 else None


def build(args: argparse.Namespace) -> None:
    shard = choose_shard(args)
    dataset, encoder, bank_file = settle(args)
    if args.dry_run:
        print(describe(dataset, encoder, bank_file) + (f'\nshare:    {shard}' if shard else ''))
        return
    from disp_plugin.priors import build_bank, build_shard, merge_shards

    amp = {'auto': None, 'off': False}.get(args.amp, args.amp)
    start = time.perf_counter()
    options = dict(
        batch_size=args.batch_size,
        device=args.device,
        amp=amp,
        dtype=args.dtype,
        num_workers=args.workers,
        overwrite=args.overwrite,
    )
    if args.merge is not None:
        seconds = 60 * args.wait
        bank = merge_shards(dataset, encoder, bank_file, args.merge, seconds, **options)
    elif shard is not None:
        bank = build_shard(dataset, encoder, bank_file, shard, **options)
    else:
        bank = build_bank(dataset, encoder, bank_file, **options)
    if bank is None:
        print(f'{shard} is done; the last one to end writes {bank_file}')
        return
    num_new = 0 if shard or args.merge else bank.num_images
    print(summarize(bank, num_new, time.perf_counter() - start))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    from disp_plugin.cli.explain_error import user_errors

    hint = 'Run the same command again: the build goes on where it was.'
    with user_errors(args.debug, resume_hint=hint):
        build(args)


if __name__ == '__main__':
    main(sys.argv[1:])
