"""Do samples of a run on the digits show the digits that they should?

python benchmarks/digits.py agreement work_dirs/disp_biggan_digits/iter_1200.pth
python benchmarks/digits.py distance work_dirs/disp_stylegan2_digits

agreement: images are sampled from the priors of the training images, several noises each. A
classifier that was trained on real digits, none of which the GAN has seen, tells their classes; the
number is the fraction whose class is that of the prior's image. The classifier's accuracy on real
digits held out from it is printed beside it: no GAN can be expected to pass that.

distance: the Fréchet distance of samples to digits that the run has not seen, checkpoint by
checkpoint, between Gaussians fitted to gray values, averaged to 8 x 8 pixels: |m - n|^2 +
tr(A + B - 2 (A B)^(1/2)). Samples are drawn as tools/sample.py draws them. Beside the checkpoints
stand the untrained generator (iteration 0) and the training images themselves: no model that
learns from these can be expected to be much nearer.
"""

import argparse
import json
from pathlib import Path

from disp_plugin.cli.options import add_shared, make_parser

WANTED = {'agreement': 0.8, 'distance': 3.0}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    verbs = parser.add_subparsers(dest='verb', required=True)
    agreement = verbs.add_parser('agreement', help="is a sample's class that of its prior's image?")
    agreement.add_argument('checkpoint', help='file of the checkpoint')
    agreement.add_argument('--noises', type=int, default=5, help='samples of a prior (default: 5)')
    add_shared(agreement, '--config', '--sample-model')
    distance = verbs.add_parser('distance', help='how far are samples from unseen digits?')
    distance.add_argument('work_dir', help='folder of the run, with its checkpoints')
    distance.add_argument('--num', type=int, default=1000, help='samples (default: 1000)')
    distance.add_argument('--truncation', type=float, help='as in tools/sample.py')
    for verb in (agreement, distance):
        verb.add_argument('--held-out', default='test.txt', help='manifest of the unseen digits')
        verb.add_argument('--out', help='JSON file to write the numbers to')
        add_shared(verb, '--seed', '--debug')
    return parser.parse_args(argv)


def load_images(cfg, manifest=None):
    """The images of a run, or of another manifest of its folder, as training shows them.

    Returns their keys and (N, H, W, 3) uint8.
    """
    import numpy as np
    from mmagic.registry import DATASETS

    from disp_plugin.evaluation.held_out import find_training_images

    changes = {'ann_file': manifest} if manifest else {}
    images = DATASETS.build(find_training_images(cfg, **changes))
    return images.image_keys, np.stack([images.view(row) for row in range(len(images))])


def features(images, side=None):
    """Gray values in [0, 1], averaged to side x side: (N, H, W, 3) uint8 -> (N, side^2)."""
    num, height, width, _ = images.shape
    rows, columns = side or height, side or width
    gray = images.mean(axis=-1) / 255
    blocks = gray.reshape(num, rows, height // rows, columns, width // columns)
    return blocks.mean(axis=(2, 4)).reshape(num, rows * columns)


def classes(keys):
    """The digit that an image key begins its file name with, such as train/7_0042.png."""
    return [int(Path(key).name.split('_')[0]) for key in keys]


def train_classifier(cfg, manifest):
    """Fit to three quarters of the held-out digits; tell the accuracy on the rest."""
    from sklearn.model_selection import train_test_split
    from sklearn.svm import SVC

    keys, images = load_images(cfg, manifest)
    digits = classes(keys)
    split = train_test_split(
        features(images), digits, test_size=0.25, random_state=0, stratify=digits
    )
    classifier = SVC(gamma='scale').fit(split[0], split[2])
    return classifier, classifier.score(split[1], split[3])


def measure_agreement(args):
    import numpy as np
    import torch

    from disp_plugin import applications
    from disp_plugin.priors import PriorBank
    from disp_plugin.settings import find_bank_file

    gan, cfg = applications.load_gan(args.checkpoint, args.config)
    classifier, accuracy = train_classifier(cfg, args.held_out)
    bank = PriorBank.open(find_bank_file(cfg))
    keys = list(bank.keys) * args.noises
    prior = torch.as_tensor(bank.lookup(keys))
    noise, _ = applications.draw_inputs(gan, len(keys), args.seed, prior[:1])
    batches = applications.sample_images(gan, noise, prior, 64, sample_model=args.sample_model)
    told, digits = classifier.predict(features(np.concatenate(list(batches)))), classes(keys)
    agree = told == np.array(digits)
    by_digit = {digit: float(agree[np.array(digits) == digit].mean()) for digit in set(digits)}
    texts = ', '.join(f'{digit}: {100 * value:.0f} %' for digit, value in by_digit.items())
    print(
        f"{100 * agree.mean():.1f} % of {len(keys)} samples show the digit of their prior's image "
        f'(wanted: {100 * WANTED["agreement"]:.0f} %; {texts}); the classifier tells '
        f'{100 * accuracy:.1f} % of real held-out digits'
    )
    return {
        'class_agreement': float(agree.mean()),
        'samples': len(keys),
        'classifier_accuracy': float(accuracy),
        'by_digit': by_digit,
    }


def frechet_distance(rows, other):
    """Between Gaussians fitted to (N, F) and (M, F)."""
    import torch

    from disp_plugin.evaluation.metrics import distances

    return distances.frechet_distance(torch.from_numpy(rows), torch.from_numpy(other)).value


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


def measure_distance(args):
    import numpy as np

    from disp_plugin import applications
    from disp_plugin.applications.load_gan import read_checkpoint
    from disp_plugin.evaluation.metric_card import read_start
    from disp_plugin.evaluation.run import find_run

    def distance(gan):
        noise, prior = applications.draw_inputs(gan, args.num, args.seed)
        batches = applications.sample_images(gan, noise, prior, 64, args.truncation)
        return frechet_distance(features(np.concatenate(list(batches)), 8), unseen)

    start = find_run(args.work_dir, 'last').start  # of another run in the folder nothing is shown
    files = sorted(Path(args.work_dir).glob('iter_*.pth'), key=lambda f: int(f.stem[5:]))
    files = [file for file in files if read_start(read_checkpoint(file)) == start]
    if not files:
        raise FileNotFoundError(f'{args.work_dir} holds no checkpoint iter_*.pth')
    gan, cfg = applications.load_gan(files[0])
    seen, unseen = (features(load_images(cfg, name)[1], 8) for name in (None, args.held_out))
    numbers = {0: distance(untrained(gan, cfg))}
    for file in files:
        numbers[int(file.stem[5:])] = distance(applications.load_gan(file)[0])
    training_images, fell = frechet_distance(seen, unseen), numbers[0] / numbers[max(numbers)]
    for iteration, number in numbers.items():
        print(f'iteration {iteration:>6}: {number:.3f}')
    print(f'training images:  {training_images:.3f}')
    print(
        f'the last is {fell:.1f} times nearer than the untrained generator '
        f'(wanted: {WANTED["distance"]:.0f})'
    )
    return {
        'frechet_distance': numbers,
        'training_images': training_images,
        'samples': args.num,
        'held_out': len(unseen),
        'fell': fell,
    }


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    from disp_plugin.cli.errors import user_errors
    from disp_plugin.files import write_file

    with user_errors(args.debug):
        numbers = measure_agreement(args) if args.verb == 'agreement' else measure_distance(args)
        if args.out:
            write_file(args.out, json.dumps(numbers, indent=2) + '\n')


if __name__ == '__main__':
    main()
