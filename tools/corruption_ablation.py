"""Does it matter what the encoder knows? Encoders trained on more and more corrupted labels.

For each share an encoder is trained by classification on a folder of labeled images, of which that
share has its labels permuted. A linear probe on true labels then says what each encoder knows;
an untrained encoder is probed beside them. Probe images that the training has not seen: otherwise
a network that learned labels by heart does well. OUT holds the encoders, corrupted_050.pth and so
on, for CheckpointEncoder(checkpoint=...) in a config, and ablation.json.

python tools/corruption_ablation.py data/digits --ann-file source.txt --probe-ann-file test.txt \\
    --out ablation --size 16 --no-flip --epochs 20
"""

import argparse
import json
from pathlib import Path

from pretrain_encoder import add_training_options, read_options


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data_root', help='folder of labeled images')
    parser.add_argument('--out', required=True, help='folder to write')
    parser.add_argument(
        '--shares',
        nargs='+',
        type=float,
        default=[0, 25, 50, 75, 100],
        metavar='PERCENT',
        help='of labels that are permuted (default: 0 25 50 75 100)',
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
    parser.add_argument('--debug', action='store_true', help='print the traceback of any error')
    return parser.parse_args(argv)


def train_encoders(args, shares):
    """One file for each share."""
    from disp_plugin.datasets import ImageFolderDataset
    from disp_plugin.encoders.pretrain_supervised import pretrain_supervised
    from disp_plugin.evaluation.image_labels import image_labels

    dataset = ImageFolderDataset(data_root=args.data_root, ann_file=args.ann_file)
    keys = [dataset.get_data_info(index)['image_key'] for index in range(len(dataset))]
    labels = dict(zip(keys, image_labels(keys, args.labels), strict=True))
    results = []
    for percent in shares:
        print(f'{percent:g} % of the labels permuted')
        result = pretrain_supervised(
            args.data_root,
            Path(args.out) / f'corrupted_{percent:03g}.pth',
            labels,
            percent / 100,
            read_options(args),
            ann_file=args.ann_file,
            num_workers=args.workers,
            device=args.device,
            amp=False if args.no_amp else None,
            resume=not args.no_resume,
            overwrite=args.overwrite,
        )
        results.append((f'{percent:g} %', result))
    return results


def probe_encoders(args, encoders):
    """Rows of the table: what a linear classifier tells from each encoder's priors."""
    import tempfile

    import numpy as np
    from mmagic.registry import DATASETS, MODELS

    import disp_plugin.register  # noqa: F401
    from disp_plugin.evaluation.image_labels import image_labels
    from disp_plugin.evaluation.linear_probe import linear_probe
    from disp_plugin.priors import build_bank

    size = (args.size, args.size)
    pipeline = [
        dict(type='LoadTrainingImage'),
        dict(type='Resize', keys='gt', scale=size, interpolation='bicubic', backend='pillow'),
    ]
    images = dict(type='ImageFolderDataset', data_root=args.data_root, pipeline=pipeline)
    images['ann_file'] = args.ann_file if args.probe_ann_file is None else args.probe_ann_file
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, encoder in encoders.items():
            bank_file = Path(folder) / f'{len(rows)}.safetensors'
            built = MODELS.build(dict(type='CheckpointEncoder', **encoder))
            bank = build_bank(
                DATASETS.build(images),
                built,
                bank_file,
                device=args.device,
                num_workers=args.workers,
            )
            labels = image_labels(list(bank.keys), args.labels)
            priors = bank.take(np.arange(len(bank)))
            probe = linear_probe(priors, labels, seed=args.seed)
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
    from disp_plugin.cli.check_range import check_range
    from disp_plugin.cli.choose_device import choose_device
    from disp_plugin.files import check_out, write_file

    shares = sorted(set(args.shares))
    wrong = [percent for percent in shares if not 0 <= percent <= 100]
    if wrong:
        raise ValueError(f'--shares are percentages, from 0 to 100, but {wrong[0]:g} is none')
    check_range(args, seed=0, workers=0)
    check_out(args.out)
    args.device = str(choose_device(args.device))
    results = train_encoders(args, shares)
    encoders = {name: {'checkpoint': str(result.file)} for name, result in results}
    encoders['untrained'] = {**encoders[results[0][0]], 'untrained': True, 'seed': args.seed}
    rows = probe_encoders(args, encoders)
    told = {name: result.paired for name, result in results}
    for row in rows:
        row['given_label'] = told.get(row['labels_permuted'])
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

    from disp_plugin.cli.explain_error import user_errors

    with user_errors(args.debug, resume_hint='Give the same command to go on.'):
        ablate(args)


if __name__ == '__main__':
    main()
