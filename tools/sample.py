"""Sample images from a trained GAN.

python tools/sample.py work_dirs/disp_biggan_digits/iter_1200.pth --out samples
python tools/sample.py CHECKPOINT --out variations --prior-from my_image.png
"""

import argparse
from pathlib import Path

MAX_IN_GRID = 1024


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'checkpoint', help='checkpoint, or work folder: its last one; it holds its config'
    )
    parser.add_argument('--config', help='config to use in place of the one in the checkpoint')
    parser.add_argument('--out', default='samples', help='folder to write (default: samples)')
    parser.add_argument('--num', type=int, default=64, help='number of images (default: 64)')
    parser.add_argument('--seed', type=int, default=0, help='same seed, same images (default: 0)')
    parser.add_argument(
        '--truncation',
        type=float,
        help='clamp noise to this absolute value; of a StyleGAN2, psi: the fraction of their '
        'distance from the mean that styles keep',
    )
    parser.add_argument('--batch-size', type=int, default=32, help='images at a time (default: 32)')
    parser.add_argument(
        '--prior-from', metavar='IMAGE', help='variations of this image: its prior, many noises'
    )
    parser.add_argument(
        '--sample-model',
        choices=['ema', 'orig'],
        help='EMA generator, or the generator as it was trained (default: ema if there is)',
    )
    parser.add_argument('--device', help='such as cpu or cuda:0 (default: a GPU if there is one)')
    parser.add_argument('--nrow', type=int, help='images in a row of the grid (default: square)')
    parser.add_argument('--debug', action='store_true', help='print the traceback of any error')
    return parser.parse_args(argv)


def sample(args: argparse.Namespace) -> None:
    import numpy as np

    from disp_plugin import applications
    from disp_plugin.distributed import choose_device
    from disp_plugin.progress import track

    device = choose_device(args.device)
    gan, cfg = applications.load_gan(args.checkpoint, args.config, device)
    prior = applications.encode_image(cfg, args.prior_from, device) if args.prior_from else None
    noise, priors = applications.draw_inputs(gan, args.num, args.seed, prior)
    batches = applications.sample_images(
        gan, noise, priors, args.batch_size, args.truncation, args.sample_model
    )
    images = (image for batch in batches for image in batch)
    shown = []
    for index, image in enumerate(track(images, args.num, 'sampling')):
        applications.write_png(Path(args.out) / f'{index:06d}.png', image)
        if index < MAX_IN_GRID:
            shown.append(image)
    grid = Path(args.out) / 'grid.png'
    applications.write_png(grid, applications.make_grid(np.stack(shown), args.nrow))
    print(f'{args.num} images in {args.out}, the first {len(shown)} of them in {grid}')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    from disp_plugin.cli.errors import user_errors

    with user_errors(args.debug):
        sample(args)


if __name__ == '__main__':
    main()
