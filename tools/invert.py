"""Invert images: find what a trained GAN must be told to make them.

The projected prior of every resolution block is optimized on its own, starting from the image's
prior; of a self-modulated baseline, what each block takes of the noise. Written are the best answer
to each image and inversion.json (the error at each step) and, beside the folder,
inverted_curves.png (the same) and inverted_grid.png (in rows: the image, the GAN's first answer,
its best).

python tools/invert.py work_dirs/disp_biggan_digits/iter_1200.pth my_image.png --out inverted
python tools/invert.py CHECKPOINT data/digits/train.txt --held-out data/digits/test.txt

The second tests for overfitting by latent recovery: are training images recovered better?
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from disp_plugin.cli.errors import check_files, check_range, user_errors
from disp_plugin.cli.options import add_shared, make_parser

if TYPE_CHECKING:
    from disp_plugin.evaluation.metrics.ivom import RecoveryGap


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_shared(parser, 'checkpoint')
    parser.add_argument(
        'images', nargs='+', metavar='IMAGE', help='files, or folders or manifests (.txt) of them'
    )
    unseen = 'unseen images: are IMAGEs, then training images, recovered better than these?'
    add_shared(parser, '--held-out', held_out=unseen)
    parser.add_argument('--out', default='inverted', help='folder to write (default: inverted)')
    parser.add_argument('--steps', type=int, default=200, help='of Adam (default: 200)')
    parser.add_argument('--lr', type=float, default=0.1, help='learning rate (default: 0.1)')
    add_shared(parser, '--overwrite', '--config', '--sample-model', '--batch-size')
    add_shared(parser, '--device', '--debug')
    add_shared(parser, '--seed', seed='of the noise (default: 0)')
    return parser.parse_args(argv)


def draw_curves(losses, names, file):
    """Errors (S + 1, N) at each step as lines, on a logarithmic scale."""
    from matplotlib.figure import Figure

    from disp_plugin.applications.sample_folder import SHEET_MARK
    from disp_plugin.files import replace_file

    axes = Figure(figsize=(6, 4), layout='constrained').subplots()
    for name, line in zip(names, losses.T, strict=True):
        axes.plot(line, linewidth=1, label=name)
    axes.set(yscale='log', xlabel='step', ylabel='mean squared error of pixels in [-1, 1]')
    if len(names) <= 10:
        axes.legend(frameon=False)
    with replace_file(file, is_durable=False) as target:
        axes.figure.savefig(target, format='png', dpi=150, metadata=SHEET_MARK)


def invert(args: argparse.Namespace) -> None:
    import numpy as np

    from disp_plugin import applications
    from disp_plugin.applications.sample_images import channel_order_of, from_rgb, to_rgb
    from disp_plugin.datasets import find_images
    from disp_plugin.distributed import choose_device
    from disp_plugin.evaluation.metrics.ivom import compare_recovery, inversion_error
    from disp_plugin.evaluation.reference_set import check_disjoint
    from disp_plugin.files import write_file

    args.images = [image for place in args.images for image in find_images(place)]
    num_given = len(args.images)
    if args.held_out:
        unseen = find_images(args.held_out)
        check_disjoint(args.images, unseen, f'--held-out {args.held_out}', 'the images to invert')
        args.images += unseen
    names = [f'{index:06d}.png' for index in range(len(args.images))]
    folder = applications.SampleFolder(args.out, names, args.overwrite)
    device = choose_device(args.device)
    gan, cfg = applications.load_gan(args.checkpoint, args.config, device)
    order = channel_order_of(gan)
    shown = np.stack([applications.show_as_training(cfg, image) for image in args.images])
    prior = applications.encode_shown(cfg, shown, device) if gan.prior_dim else None
    found = applications.invert_images(
        gan,
        from_rgb(shown, order),
        prior,
        num_steps=args.steps,
        lr=args.lr,
        seed=args.seed,
        batch_size=args.batch_size,
        sample_model=args.sample_model,
    )
    first = applications.sample_images(
        gan, found.noise, prior, args.batch_size, sample_model=args.sample_model
    )
    best = to_rgb((found.images + 1) * 127.5, order)
    error = inversion_error(found.losses)
    numbers = {
        'ivom': error._asdict(),
        'steps': args.steps,
        'lr': args.lr,
        'seed': args.seed,
        'images': [
            {'file': str(file), 'losses': [float(f'{loss:.6g}') for loss in losses.tolist()]}
            for file, losses in zip(args.images, found.losses.T, strict=True)
        ],
    }
    if args.held_out:
        smallest = found.losses.min(dim=0).values.double().numpy()
        gap = compare_recovery(smallest[:num_given], smallest[num_given:])
        numbers['recovery'] = {'train': num_given, 'held_out': len(unseen), **gap._asdict()}
    folder.write(best)
    triples = np.stack([shown, np.concatenate(list(first)), best], axis=1).reshape(
        -1, *shown.shape[1:]
    )
    applications.write_sheet(folder.sheet, triples, 3)
    files = [Path(image).name for image in args.images]
    draw_curves(found.losses.numpy(), files, folder.beside('curves.png'))
    write_file(folder.folder / 'inversion.json', json.dumps(numbers, indent=2) + '\n')
    at_first = found.losses[0].mean().item()
    print(
        f'{len(best)} images in {args.out}: mean squared error {at_first:.4g} at first, '
        f'{error.value:.4g} at best'
    )
    if args.held_out:
        print(tell_recovery(gap, num_given, len(unseen)))


def tell_recovery(gap: 'RecoveryGap', num_train: int, num_unseen: int) -> str:
    return (
        f'median error {gap.train_median:.4g} of {num_train} training images, '
        f'{gap.held_out_median:.4g} of {num_unseen} held-out ones: MRE-gap {gap.gap:.3g} '
        f'(overfitting above 0.1), Kolmogorov-Smirnov p {gap.ks_p:.3g} (overfitting below 0.01)'
    )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
        check_files(args)
        check_range(args, steps=0, seed=0, batch_size=1)
        invert(args)


if __name__ == '__main__':
    main()
