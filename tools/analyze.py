"""The paper's analysis of what a discriminator and priors know, as tables and JSON.

    python tools/analyze.py similarity CHECKPOINT --encoder type=TorchvisionEncoder model=vgg16
    python tools/analyze.py probe data/priors/one.safetensors data/priors/other.safetensors

similarity: are images that are alike to an encoder alike in the discriminator's features D_f
(Table 12), and is G(z | C(x)) like x (Table 13)? probe: how well does a linear classifier tell
classes from the priors of a bank?
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from disp_plugin.cli.options import add_shared, make_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    verbs = parser.add_subparsers(dest='verb', required=True)
    similarity = verbs.add_parser('similarity', help='Tables 12 and 13')
    similarity.add_argument('checkpoint', help='file of the checkpoint; it holds its config')
    told = "whose features are perceptual similarity (default: the run's own encoder)"
    add_shared(similarity, '--encoder', '--config', '--sample-model', '--device', encoder=told)
    similarity.add_argument(
        '--ann-file', help='manifest of the images to look at (default: the training images)'
    )
    similarity.add_argument('--num', type=int, default=1000, help='images at most (default: 1000)')
    similarity.add_argument('--num-pairs', type=int, default=10000, help='pairs (default: 10000)')
    similarity.add_argument('--cache-dir', default='data/features', help='default: data/features')
    probe = verbs.add_parser('probe', help='accuracy of a linear classifier on priors')
    probe.add_argument('banks', nargs='+', metavar='BANK', help='bank files')
    probe.add_argument(
        '--labels',
        help="'folder', 'prefix' (before the first _ of a file's name) or a CSV file of image keys "
        'and labels (default: folder, or prefix where all images lie in one folder)',
    )
    probe.add_argument('--folds', type=int, default=5, help='of cross-validation (default: 5)')
    for verb in (similarity, probe):
        verb.add_argument('--out', help='JSON file to write the numbers to')
        add_shared(verb, '--seed', '--debug')
    return parser.parse_args(argv)


def measure_similarity(args):
    """Tables 12 and 13 of a checkpoint."""
    import numpy as np
    import torch
    from mmagic.registry import DATASETS

    from disp_plugin import applications
    from disp_plugin.applications.sample_images import channel_order_of, from_rgb
    from disp_plugin.cli.errors import check_range
    from disp_plugin.distributed import choose_device
    from disp_plugin.evaluation import similarity
    from disp_plugin.evaluation.held_out import find_training_images
    from disp_plugin.evaluation.reference_set import ReferenceSet
    from disp_plugin.evaluation.spaces import get_space
    from disp_plugin.progress import track

    check_range(args, num=2, num_pairs=2, seed=0)
    device = choose_device(args.device)
    gan, cfg = applications.load_gan(args.checkpoint, args.config, device)
    own = cfg.get('encoder')
    if not (args.encoder or own):
        raise ValueError('this run has no encoder; name one for perceptual similarity: --encoder')
    space = get_space('perceptual', args.encoder or own)
    changes = {'ann_file': args.ann_file} if args.ann_file else {}
    dataset = DATASETS.build(find_training_images(cfg, **changes))
    reference = ReferenceSet(dataset, args.ann_file or 'train', args.cache_dir, args.num)
    images = reference.images(range(len(reference)))

    def in_disc(pictures):
        order = channel_order_of(gan)
        return similarity.discriminator_features(gan, from_rgb(pictures, order))

    real = {'perceptual': reference.features(space), 'D_f': in_disc(images)}
    pairs = similarity.draw_pairs(len(images), args.num_pairs, args.seed)
    found = similarity.similarity_correlation(real['D_f'], real['perceptual'], images, pairs)
    numbers = {
        'checkpoint': str(args.checkpoint),
        'images': asdict(reference.describe()),
        'perceptual': asdict(space.describe()),
        'num_pairs': args.num_pairs,
        'seed': args.seed,
        'correlation': {name: values._asdict() for name, values in found.items()},
    }
    if not (gan.prior_dim and own) or getattr(gan, 'per_image', False):
        return numbers
    # Table 13: images generated from the images' own priors, in the same spaces
    priors = reference.features(get_space('prior', own))
    noise, _ = applications.draw_inputs(gan, len(priors), args.seed, priors[:1])
    batches = applications.sample_images(gan, noise, priors, sample_model=args.sample_model)
    made = np.concatenate(list(track(batches, -(-len(priors) // 32), 'sampling')))
    encoded = [space.features(part) for part in torch.from_numpy(made).split(32)]
    generated = {'perceptual': torch.cat(encoded), 'D_f': in_disc(made)}
    numbers['reconstruction'] = {}
    for name in real:
        rows = similarity.reconstruction_similarity(real[name], generated[name], args.seed)
        numbers['reconstruction'][name] = {row: v._asdict() for row, v in rows.items()}
    return numbers


def print_similarity(numbers):
    print(
        f'{numbers["images"]["num"]} images ({numbers["images"]["split"]}), {numbers["num_pairs"]} '
        f'pairs; perceptual: {numbers["perceptual"]["encoder"]}\n\n'
        'cosine in D_f against        Pearson  Spearman'
    )
    titles = {'perceptual': 'perceptual similarity', 'pixels': 'distance of pixels'}
    for name, values in numbers['correlation'].items():
        print(f'{titles[name]:27} {values["pearson"]:8.3f}  {values["spearman"]:8.3f}')
    if 'reconstruction' not in numbers:
        print('\nTable 13 is left out: this GAN has no encoder that knows unseen images')
        return
    print('\ncosine similarity    x, G(z|C(x))     x, other x     x, G(z|C(other x))')
    for name, rows in numbers['reconstruction'].items():
        cells = (f'{v["mean"]:.3f} ± {v["standard_deviation"]:.3f}' for v in rows.values())
        print(f'{name:18}' + '  '.join(f'{cell:>15}' for cell in cells))


def measure_probes(args):
    """Held-out accuracy on each bank."""
    import numpy as np

    from disp_plugin.cli.errors import check_range
    from disp_plugin.evaluation.linear_probe import image_labels, linear_probe
    from disp_plugin.priors import PriorBank
    from disp_plugin.progress import track

    check_range(args, folds=2, seed=0)
    probes = []
    for file in track(args.banks, len(args.banks), 'probing'):
        bank = PriorBank.open(file)
        bank.verify()
        labels = image_labels(list(bank.keys), args.labels)
        found = linear_probe(bank.take(np.arange(len(bank))), labels, args.folds, args.seed)
        probes.append({'bank': str(file), **found._asdict()})
    return {'labels': args.labels or 'from file names', 'seed': args.seed, 'probes': probes}


def print_probes(numbers):
    print('accuracy           most frequent class  images  classes  bank')
    for row in numbers['probes']:
        accuracy = f'{row["accuracy"]:.3f} ± {row["standard_deviation"]:.3f}'
        print(
            f'{accuracy:17}  {row["majority"]:19.3f}  {row["num_images"]:6}  '
            f'{row["num_classes"]:7}  {row["bank"]}'
        )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    measure, show = {
        'similarity': (measure_similarity, print_similarity),
        'probe': (measure_probes, print_probes),
    }[args.verb]

    from disp_plugin.cli.errors import check_files, user_errors
    from disp_plugin.files import check_out, write_file

    with user_errors(args.debug):
        if args.out:
            check_out(args.out, is_folder=False)
        check_files(args)
        numbers = measure(args)
        show(numbers)
        if args.out:
            write_file(Path(args.out), json.dumps(numbers, indent=2) + '\n')


if __name__ == '__main__':
    main()
