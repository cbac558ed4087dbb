"""How many samples show the digit that their prior was computed from?

Images are sampled from the priors of the training images, several noises each. A classifier that
was trained on real digits, none of which the GAN has seen, tells their classes; the number is the
share whose class is that of the prior's image. The classifier's accuracy on real digits held out
from it is printed beside it: no GAN can be expected to pass that.

python benchmarks/digits_class_agreement.py work_dirs/disp_biggan_digits/iter_1200.pth
"""

import argparse
import json
from pathlib import Path

WANTED = 0.8


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='file of the checkpoint')
    parser.add_argument('--config', help='config to use in place of the one in the checkpoint')
    parser.add_argument(
        '--held-out', default='test.txt', help="manifest of the classifier's digits"
    )
    parser.add_argument('--noises', type=int, default=5, help='samples for each prior (default: 5)')
    parser.add_argument('--seed', type=int, default=0, help='of the noise (default: 0)')
    parser.add_argument('--sample-model', choices=['ema', 'orig'], help='default: ema if there is')
    parser.add_argument('--out', help='JSON file to write the numbers to')
    parser.add_argument('--debug', action='store_true', help='print the traceback of any error')
    return parser.parse_args(argv)


def training_images(cfg, manifest=None):
    """The images of a run, or of another manifest of its folder, as training shows them."""
    from mmagic.registry import DATASETS

    from disp_plugin.evaluation.held_out import find_training_images

    changes = {'ann_file': manifest} if manifest else {}
    return DATASETS.build(find_training_images(cfg, **changes))


def show_all(images):
    """All images of a data set: (N, H, W, 3) uint8."""
    import numpy as np

    return np.stack([images.view(row) for row in range(len(images))])


def features(images):
    """Gray values in [0, 1] as rows: (N, H, W, 3) uint8 -> (N, H*W)."""
    return images.mean(axis=-1).reshape(len(images), -1) / 255


def classes(keys):
    """The digit that an image key begins its file name with, such as train/7_0042.png."""
    return [int(Path(key).name.split('_')[0]) for key in keys]


def train_classifier(cfg, manifest):
    """Fit to three quarters of the held-out digits; tell the accuracy on the rest."""
    from sklearn.model_selection import train_test_split
    from sklearn.svm import SVC

    images = training_images(cfg, manifest)
    digits = classes(images.image_keys)
    split = train_test_split(
        features(show_all(images)), digits, test_size=0.25, random_state=0, stratify=digits
    )
    classifier = SVC(gamma='scale').fit(split[0], split[2])
    return classifier, classifier.score(split[1], split[3])


def measure(args):
    import numpy as np
    import torch

    from disp_plugin import applications
    from disp_plugin.hooks.check_top_level import find_bank_file
    from disp_plugin.priors import PriorBank

    gan, cfg = applications.load_gan(args.checkpoint, args.config)
    classifier, accuracy = train_classifier(cfg, args.held_out)
    bank = PriorBank.open(find_bank_file(cfg))
    keys = list(bank.keys) * args.noises
    prior = torch.as_tensor(bank.lookup(keys))
    noise, _ = applications.draw_inputs(gan, len(keys), args.seed, prior[:1])
    batches = applications.sample_images(gan, noise, prior, 64, sample_model=args.sample_model)
    told = classifier.predict(features(np.concatenate(list(batches))))
    agree = told == np.array(classes(keys))
    per_digit = {
        digit: float(agree[np.array(classes(keys)) == digit].mean()) for digit in set(classes(keys))
    }
    return {
        'class_agreement': float(agree.mean()),
        'samples': len(keys),
        'classifier_accuracy': float(accuracy),
        'by_digit': per_digit,
    }


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    from disp_plugin.cli.errors import user_errors
    from disp_plugin.files import write_file

    with user_errors(args.debug):
        numbers = measure(args)
        by_digit = ', '.join(f'{d}: {100 * v:.0f} %' for d, v in numbers['by_digit'].items())
        print(
            f'{100 * numbers["class_agreement"]:.1f} % of {numbers["samples"]} samples show the '
            f"digit of their prior's image (wanted: {100 * WANTED:.0f} %; {by_digit}); the "
            f'classifier tells {100 * numbers["classifier_accuracy"]:.1f} % of real held-out digits'
        )
        if args.out:
            write_file(args.out, json.dumps(numbers, indent=2) + '\n')


if __name__ == '__main__':
    main()
