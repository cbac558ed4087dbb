"""Does it matter what the encoder knows? Encoders trained on more and more corrupted labels.

For each percentage an encoder is trained by classification on a folder of labeled images, after the
labels of so many images were permuted. A linear probe on true labels then measures what each
encoder knows; an untrained encoder is probed beside them. Probe images that the training has not
seen: otherwise a network that learned labels by heart does well. OUT holds the encoders,
corrupted_050.pth and so on, for CheckpointEncoder(checkpoint=...) in a config, and ablation.json.

python tools/corruption_ablation.py data/digits --ann-file source.txt --probe-ann-file test.txt \\
    --out ablation --size 16 --no-flip --epochs 20
"""

import argparse
import json
from pathlib import Path

from pretrain_encoder import add_training_options, read_options, read_settings

from disp_plugin.cli.options import add_shared, make_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('data_root', help='folder of labeled images, or a manifest')
    parser.add_argument('--out', required=True, help='folder to write')
    parser.add_argument(
        '--percents',
        nargs='+',
        type=float,
        default=[0, 25, 50, 75, 100],
        metavar='PERCENT',
        help='labels to permute (default: 0 25 50 75 100)',
    )
    parser.add_argument(
        '--labels',
        help="'folder', 'prefix' (before the first _ of a file's name) or a CSV file of image keys "
        'and labels (default: folder, or prefix where all images lie in one folder)',
    )
    parser.add_argument(
        '--probe-ann-file', help='manifest of the images to probe (default: those of the training)'
    )
    add_training_options(parser)
    add_shared(parser, '--debug')
    return parser.parse_args(argv)


def train_encoders(args, percents):
    """One file for each percentage of permuted labels."""
    from disp_plugin.datasets import ImageFolderDataset
    from disp_plugin.encoders.pretrain_encoder import pretrain_supervised
    from disp_plugin.encoders.pretraining_run import PretrainOptions
    from disp_plugin.evaluation.linear_probe import image_labels

    keys = ImageFolderDataset(args.data_root, args.ann_file).image_keys
    labels = dict(zip(keys, image_labels(keys, args.labels), strict=True))
    options, settings = PretrainOptions(**read_options(args)), read_settings(args)
    results = {}
    for percent in percents:
        print(f'{percent:g} % of the labels permuted')
        file = Path(args.out) / f'corrupted_{percent:03g}.pth'
        results[f'{percent:g} %'] = pretrain_supervised(
            args.data_root,
            file,
            labels,
            percent / 100,
            options,
            args.ann_file,
            settings,
            args.white_level,
        )
    return results


def probe_encoders(args, encoders):
    """Rows of the table: what a linear classifier tells from each encoder's priors."""
    import tempfile

    import numpy as np

    from disp_plugin.datasets import ImageFolderDataset
    from disp_plugin.encoders import CheckpointEncoder
    from disp_plugin.evaluation.linear_probe import image_labels, linear_probe
    from disp_plugin.priors import build_bank

    ann_file = args.ann_file if args.probe_ann_file is None else args.probe_ann_file
    images = ImageFolderDataset(
        args.data_root, ann_file, args.size, 'none', white_level=args.white_level
    )
    labels = image_labels(images.image_keys, args.labels)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, encoder in encoders.items():
            bank = build_bank(
                images,
                CheckpointEncoder(**encoder),
                Path(folder) / f'{len(rows)}.safetensors',
                device=args.device,
                num_workers=args.workers,
            )
            probe = linear_probe(bank.take(np.arange(len(bank))), labels, seed=args.seed)
            rows.append({'labels_permuted': name, **probe._asdict()})
    return rows


def print_table(rows, probe_ann_file):
    """One line for each encoder; the probe's column says which images were probed."""
    probed = 'training images' if probe_ann_file is None else probe_ann_file or 'all images'
    title = f'probe of {probed}'
    print(f'\nlabels permuted  given label in training  {title:>15}  most frequent class')
    for row in rows:
        told = row['given_label']
        given = '-' if told is None else f'{told:.3f}'
        accuracy = f'{row["accuracy"]:.3f} ± {row["standard_deviation"]:.3f}'
        print(
            f'{row["labels_permuted"]:>15}  {given:>23}  {accuracy:>{max(15, len(title))}}  '
            f'{row["majority"]:>19.3f}'
        )


def ablate(args: argparse.Namespace) -> None:
    from disp_plugin.cli.errors import check_range
    from disp_plugin.distributed import choose_device
    from disp_plugin.files import check_out, write_file

    percents = sorted(set(args.percents))
    wrong = [percent for percent in percents if not 0 <= percent <= 100]
    if wrong:
        raise ValueError(f'--percents must be from 0 to 100, but {wrong[0]:g} is not')
    check_range(args, seed=0, workers=0)
    check_out(args.out)
    args.device = str(choose_device(args.device))
    results = train_encoders(args, percents)
    encoders = {name: {'checkpoint': str(result.file)} for name, result in results.items()}
    first = next(iter(encoders.values()))
    encoders['untrained'] = {**first, 'untrained': True, 'seed': args.seed}
    rows = probe_encoders(args, encoders)
    for row in rows:
        result = results.get(row['labels_permuted'])
        row['given_label'] = result.score if result else None
    print_table(rows, args.probe_ann_file)
    numbers = {
        'data_root': args.data_root,
        'ann_file': args.ann_file,
        'probe_ann_file': args.probe_ann_file,
        'seed': args.seed,
        'rows': rows,
    }
    file = Path(args.out) / 'ablation.json'
    write_file(file, json.dumps(numbers, indent=2) + '\n')
    print(f'encoders and {file.name} are in {args.out}')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    from disp_plugin.cli.errors import user_errors

    with user_errors(args.debug, resume_hint='Give the same command to go on.'):
        ablate(args)


if __name__ == '__main__':
    main()
