"""How far are a run's samples from digits that it has not seen, checkpoint by checkpoint?

The Fréchet distance between Gaussians fitted to gray values, averaged to 8 x 8 pixels: |m - n|^2 +
tr(A + B - 2 (A B)^(1/2)). Samples are drawn as tools/sample.py draws them. Beside the checkpoints
stand the untrained generator (iteration 0) and the training images themselves: no model that
learns from these can be expected to be much nearer.

python benchmarks/digits_frechet_distance.py work_dirs/disp_stylegan2_digits
"""

import argparse
import json
from pathlib import Path

WANTED = 3.0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', help='folder of the run, with its checkpoints')
    parser.add_argument('--held-out', default='test.txt', help='manifest of the unseen digits')
    parser.add_argument('--num', type=int, default=1000, help='samples (default: 1000)')
    parser.add_argument('--seed', type=int, default=0, help='of noise and priors (default: 0)')
    parser.add_argument('--truncation', type=float, help='as in tools/sample.py')
    parser.add_argument('--out', help='JSON file to write the numbers to')
    parser.add_argument('--debug', action='store_true', help='print the traceback of any error')
    return parser.parse_args(argv)


def features(images):
    """Gray values in [0, 1], averaged to 8 x 8: (N, H, W, 3) uint8 -> (N, 64)."""
    num, height, width, _ = images.shape
    gray = images.mean(axis=-1) / 255
    return gray.reshape(num, 8, height // 8, 8, width // 8).mean(axis=(2, 4)).reshape(num, 64)


def frechet_distance(rows, other):
    """Between Gaussians fitted to (N, F) and (M, F)."""
    import torch

    from disp_plugin.evaluation.metrics import frechet_distance as gaussians

    return gaussians.frechet_distance(torch.from_numpy(rows), torch.from_numpy(other)).value


def untrained(gan, cfg):
    """The GAN as it was before training, with the fitted sampler and statistics of priors."""
    import torch
    from mmagic.registry import MODELS

    torch.manual_seed(0)
    fresh = MODELS.build({**cfg['model'], 'pretrained': None})
    fresh.init_weights()
    fitted = ('sampler.', 'prior_normalizer.')
    state = {k: v for k, v in gan.state_dict().items() if k.startswith(fitted)}
    fresh.load_state_dict({**fresh.state_dict(), **state})
    return fresh.eval()


def measure(args):
    import numpy as np
    from digits_class_agreement import show_all, training_images

    from disp_plugin import applications

    def distance(gan):
        noise, prior = applications.draw_inputs(gan, args.num, args.seed)
        batches = applications.sample_images(gan, noise, prior, 64, args.truncation)
        return frechet_distance(features(np.concatenate(list(batches))), unseen)

    files = sorted(Path(args.work_dir).glob('iter_*.pth'), key=lambda f: int(f.stem[5:]))
    if not files:
        raise FileNotFoundError(f'{args.work_dir} holds no checkpoint iter_*.pth')
    gan, cfg = applications.load_gan(files[0])
    seen, unseen = (
        features(show_all(images))
        for images in (training_images(cfg), training_images(cfg, args.held_out))
    )
    numbers = {0: distance(untrained(gan, cfg))}
    for file in files:
        numbers[int(file.stem[5:])] = distance(applications.load_gan(file)[0])
    last = numbers[max(numbers)]
    return {
        'frechet_distance': numbers,
        'training_images': frechet_distance(seen, unseen),
        'samples': args.num,
        'held_out': len(unseen),
        'fell': numbers[0] / last,
    }


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    from disp_plugin.cli.errors import user_errors
    from disp_plugin.files import write_file

    with user_errors(args.debug):
        numbers = measure(args)
        for iteration, distance in numbers['frechet_distance'].items():
            print(f'iteration {iteration:>6}: {distance:.3f}')
        print(f'training images:  {numbers["training_images"]:.3f}')
        print(f'the last is {numbers["fell"]:.1f} times nearer than the untrained generator '
              f'(wanted: {WANTED:.0f})')  # fmt: skip
        if args.out:
            write_file(args.out, json.dumps(numbers, indent=2) + '\n')


if __name__ == '__main__':
    main()
