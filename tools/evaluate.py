"""Measure how good a trained GAN is, or a folder of images, and whether it copies.

python tools/evaluate.py work_dirs/disp_biggan_folder --held-out my_test_photos
python tools/evaluate.py --images samples --held-out my_test_photos --train my_photos

Images are a folder, or a manifest: a text file with one image's path a line. Paths start at the
manifest's own folder; those of --held-out, beside a checkpoint, at the folder of the training
images, if they are there. A best snapshot is not measured on the images that chose it. Every number
is printed with its protocol in its name and added, with the rest of the protocol, to
metric_cards.json beside the checkpoint. Several processes: torchrun --nproc_per_node 2
tools/evaluate.py ... --launcher pytorch
"""

import argparse
import os
from pathlib import Path

from disp_plugin.cli.options import OptionsAction, add_shared, make_parser

TRAIN_METRICS = ['fid', 'kid']


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        'checkpoint', nargs='?', help="a checkpoint, or a run's folder: its best snapshot"
    )
    parser.add_argument('--images', help='images to evaluate in place of a checkpoint')
    parser.add_argument(
        '--held-out', help="folder or manifest of unseen images (default: the config's test set)"
    )
    parser.add_argument(
        '--reference',
        choices=['held-out', 'train'],
        default='held-out',
        help='train: FID and KID of 5,000 samples to the training images, as the code of '
        'DiffAugment has it for 100 images; low for copies, so that no judgment rests on them',
    )
    parser.add_argument('--split', help='name of the held-out images (default: by --held-out)')
    parser.add_argument('--train', help='folder or manifest of training images, beside --images')
    parser.add_argument('--size', type=int, help='beside --images: crop and resize all to this')
    parser.add_argument(
        '--num-images', type=int, help='images to sample (default: as the config, or 10k)'
    )
    parser.add_argument(
        '--space',
        nargs='+',
        action=OptionsAction,
        metavar='NAME=ENCODER',
        help="where to compare: clean=, legacy=, dinov2=, clip=, pixels=, prior= (the run's own "
        "encoder), or dinov3=\"dict(type='TimmEncoder', model='...')\" (default: those of the "
        'config, else clean and prior)',
    )
    parser.add_argument(
        '--metrics', nargs='+', help='fid kid precision_recall copying floor disc_gap ivom'
    )
    parser.add_argument(
        '--options',
        nargs='+',
        action=OptionsAction,
        metavar='METRIC=ARGUMENTS',
        help='precision_recall="dict(recall_neighbors=[3])"',
    )
    parser.add_argument('--truncation', type=float, help='as in tools/sample.py')
    parser.add_argument('--cache-dir', default='data/features', help='default: data/features')
    parser.add_argument(
        '--out', help='file of the cards (default: beside the checkpoint, or, of --images, here)'
    )
    add_shared(parser, '--white-level', white_level='beside --images: white of 16-bit images')
    add_shared(parser, '--config', '--sample-model', '--launcher', '--local-rank', '--debug')
    add_shared(parser, '--seed', seed='of the samples (default: 0)')
    add_shared(parser, '--batch-size', batch_size='images at a time (default: 64)')
    parser.set_defaults(batch_size=64)
    args = parser.parse_args(argv)
    if (args.checkpoint is None) == (args.images is None):
        parser.error('give either a checkpoint or --images')
    if args.images is not None and args.held_out is None:
        parser.error('--images needs --held-out, a folder or manifest of unseen images')
    for name, least in (('batch_size', 1), ('num_images', 2), ('size', 1), ('truncation', 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            flag = name.replace('_', '-')
            parser.error(f'--{flag} must be at least {least}, but is {value}')
    if args.reference == 'train':
        if args.images is not None or args.held_out is not None or args.split is not None:
            parser.error('--reference train goes with a checkpoint, without --held-out and --split')
        if not {*(args.metrics or ())} <= {*TRAIN_METRICS}:
            parser.error('--reference train has fid and kid alone: others would say nothing')
        args.metrics = args.metrics or TRAIN_METRICS
    if args.images is None and (args.size or args.train or args.white_level):
        parser.error('--size, --train and --white-level go with --images, not a checkpoint')
    if args.images is not None:
        if {'disc_gap', 'ivom'} & set(args.metrics or ()):
            parser.error('disc_gap and ivom need a checkpoint, not --images')
        if args.train is None and {'copying', 'floor'} & set(args.metrics or ()):
            parser.error('copying and floor need --train, the training images')
    return args


def check_images(folders: list[str], size: int | None) -> None:
    """Raise if an image is a sheet of many, or if several sizes are to be compared as they are."""
    from PIL import Image, UnidentifiedImageError

    from disp_plugin.applications import is_sheet
    from disp_plugin.datasets import ImageFolderDataset

    sizes: dict[tuple[int, int], str] = {}
    for folder in folders:
        for path in ImageFolderDataset(folder).image_paths:
            try:
                with Image.open(path) as image:
                    sizes.setdefault(image.size, path)
                sheet = is_sheet(path)
            except (UnidentifiedImageError, OSError) as error:
                raise ValueError(f'{path} is no image: {error}') from error
            if sheet:
                raise ValueError(
                    f'{path} is a sheet of samples, not one of them: a folder to measure holds '
                    'samples alone; move it away, or name the folder of the samples'
                )
    if size is None and len(sizes) > 1:
        shown = ', '.join(f'{path} {w}x{h}' for (w, h), path in sorted(sizes.items())[:3])
        raise ValueError(
            f'images differ in size ({shown}, ...); give --size N, which crops them centrally to '
            'squares and resizes them to N'
        )


def check_cards_file(args: argparse.Namespace, folder: Path) -> Path:
    """Find the file of the cards; raise if it cannot be written or holds something else."""
    from disp_plugin.evaluation.metric_card import CARDS_FILE, read_cards
    from disp_plugin.files import check_out

    file = Path(args.out or folder / CARDS_FILE)
    check_out(file, is_folder=False)
    if file.is_file():
        read_cards(file)
    return file


def evaluate_checkpoint(args: argparse.Namespace, shared: dict):
    """Sample from a GAN, and measure."""
    from mmagic.registry import DATASETS

    from disp_plugin import applications
    from disp_plugin.applications.load_gan import read_checkpoint, read_config_of
    from disp_plugin.distributed import choose_device
    from disp_plugin.evaluation import StandardEvaluator
    from disp_plugin.evaluation.evaluate_gan import evaluate_gan
    from disp_plugin.evaluation.held_out import (
        check_not_chosen_by,
        find_held_out,
        find_training_images,
    )
    from disp_plugin.evaluation.metric_card import TRAIN_SPLIT, Snapshot, read_start
    from disp_plugin.evaluation.run import find_run
    from disp_plugin.evaluation.spaces import choose_spaces, run_encoder

    path = Path(args.checkpoint)
    if path.is_dir():
        run = find_run(path)
        if run.checkpoint is None:
            raise FileNotFoundError(f'{args.checkpoint} holds no checkpoint')
        path = run.checkpoint
        print(*run.problems, f'evaluating {path}', sep='\n')
    out = check_cards_file(args, path.parent)
    gan, cfg = applications.load_gan(path, args.config, choose_device())
    num, train = (
        (cfg.get('test_evaluator') or {}).get('fake_nums', 10000),
        find_training_images(cfg),
    )
    if args.reference == 'train':
        dataset, split, num, train = {**train, 'flip': False}, TRAIN_SPLIT, 5000, None
    else:
        dataset, split = find_held_out(cfg, args.held_out, args.split)
    content = read_checkpoint(path)
    if path.name.startswith('best_') and split != TRAIN_SPLIT:
        check_not_chosen_by(read_config_of(content), dict(dataset=dataset), split, path.name)
    evaluator = StandardEvaluator(
        choose_spaces(args.space, cfg),
        args.metrics,
        train,
        run_encoder(cfg),
        args.num_images or num,
        split,
        **shared,
    )
    evaluate_gan(gan, evaluator, DATASETS.build(dataset), args.batch_size)
    iteration, run = (content.get('meta') or {}).get('iter'), path.absolute().parent.name
    return evaluator, Snapshot(iteration, path.name, run, read_start(content)), out


def evaluate_folder(args: argparse.Namespace, shared: dict):
    """Measure images that are files already."""
    from disp_plugin.datasets import ImageFolderDataset, tell_odd_images
    from disp_plugin.evaluation import StandardEvaluator
    from disp_plugin.evaluation.evaluate_gan import evaluate_images
    from disp_plugin.evaluation.metric_card import Snapshot
    from disp_plugin.evaluation.reference_set import ReferenceSet
    from disp_plugin.evaluation.spaces import choose_spaces

    out = check_cards_file(args, Path())
    check_images([f for f in (args.images, args.held_out, args.train) if f], args.size)
    view = dict(image_size=args.size, white_level=args.white_level)
    images = ImageFolderDataset(args.images, **view)
    held_out = ImageFolderDataset(args.held_out, **view)
    for dataset in (images, held_out):
        tell_odd_images(dataset)
    generated = ReferenceSet(images, 'generated', args.cache_dir, args.num_images or len(images))
    train = dict(type='ImageFolderDataset', data_root=args.train, **view)
    given = Path(args.held_out)
    metrics = ['fid', 'kid', 'precision_recall', *(['copying', 'floor'] if args.train else [])]
    itself = set(map(os.path.realpath, images.image_paths))
    itself &= set(map(os.path.realpath, held_out.image_paths))
    if itself:
        print(
            f'warning: {len(itself)} of the {len(images)} images are held-out images themselves; '
            'numbers that compare them with themselves say nothing'
        )
    evaluator = StandardEvaluator(
        choose_spaces(args.space),
        args.metrics or metrics,
        train if args.train else None,
        fake_nums=len(generated),
        split=args.split or (given.stem if given.is_file() else given.name),
        **shared,
    )
    evaluate_images(generated, evaluator, held_out, args.batch_size)
    return evaluator, Snapshot(file=args.images), out


def evaluate(args: argparse.Namespace) -> None:
    from mmengine import dist

    import disp_plugin.register  # noqa: F401
    from disp_plugin.distributed import leave_group
    from disp_plugin.evaluation.metric_card import choose_headline, format_cards, write_cards

    if args.launcher != 'none':
        # the first process may encode many real images while the others wait
        dist.init_dist(args.launcher, timeout=7200)
    work = evaluate_checkpoint if args.images is None else evaluate_folder
    names = ('options', 'cache_dir', 'seed', 'truncation', 'sample_model')
    evaluator, snapshot, out = work(args, {name: getattr(args, name) for name in names})
    cards = [card.of(snapshot) for card in evaluator.cards]
    if dist.is_main_process():
        print(format_cards(cards))
        headline = choose_headline(cards)
        if headline is not None:
            print(f'the number to look at first: {format_cards([headline])}')
        for reason in evaluator.left_out:
            print(f'warning: {reason}')
        if cards:
            write_cards(out, cards)
            print(f'{len(cards)} numbers with their protocol in {out}')
    leave_group()
    if not cards:
        raise ValueError('no number could be computed; the warnings above say why')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))

    from disp_plugin.cli.errors import check_files, check_range, user_errors

    with user_errors(args.debug):
        check_files(args)
        check_range(args, seed=0)
        evaluate(args)


if __name__ == '__main__':
    main()
