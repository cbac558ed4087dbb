"""Train an encoder on a folder of images by SimCLR, without labels.

python tools/pretrain_encoder.py my_photos data/my_photos/encoder.pth --arch resnet18 --size 64

The encoder is then CheckpointEncoder(checkpoint='data/my_photos/encoder.pth') in a config. Priors
lose what the views vary: keep colors with --color-jitter 0 --grayscale 0 where they matter, and use
--no-flip where left and right differ. The same command goes on with a training that was stopped.
"""

import argparse
import json

from disp_plugin.cli.errors import check_range, user_errors
from disp_plugin.cli.options import add_shared, make_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('data_root', help='folder of images, with any subfolders, or a manifest')
    parser.add_argument('out', help='file to write, .pth or .safetensors')
    training = add_training_options(parser)
    training.add_argument('--temperature', type=float, default=0.2, help='of the NT-Xent loss')
    add_shared(parser, '--debug')
    return parser.parse_args(argv)


def add_training_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """What any training of an encoder is told; returns the group for what only one is told."""
    parser.add_argument('--ann-file', default='', help='manifest: one image of the folder a line')
    add_shared(parser, '--white-level')
    network = parser.add_argument_group('network')
    network.add_argument('--arch', default='resnet18', help='of torchvision or timm')
    network.add_argument('--arch-kwargs', default='{}', metavar='JSON', help='its other arguments')
    views = parser.add_argument_group('views')
    views.add_argument('--size', type=int, default=128, help='side of a view (default: 128)')
    views.add_argument('--min-crop', type=float, default=0.2, help='least area of a view')
    views.add_argument('--color-jitter', type=float, default=0.5, help='0 keeps colors; SimCLR: 1')
    views.add_argument('--grayscale', type=float, default=0.2, help='fraction of gray views')
    views.add_argument('--no-flip', action='store_true', help='mirror no view')
    views.add_argument('--rotation', type=float, default=0.0, help='largest rotation in degrees')
    views.add_argument('--shift', type=float, default=0.0, help='largest shift, of the side')
    training = parser.add_argument_group('training')
    training.add_argument('--epochs', type=int, default=100)
    training.add_argument('--batch-size', type=int, help='default: 256, or all of fewer images')
    training.add_argument('--lr', type=float, default=1e-3)
    training.add_argument('--weight-decay', type=float, default=1e-4)
    training.add_argument('--workers', type=int, default=0, help='processes that make views')
    add_shared(training, '--seed', '--device')
    training.add_argument('--no-amp', action='store_true', help='no float16 on a GPU')
    training.add_argument('--no-resume', action='store_true', help='begin anew')
    training.add_argument('--overwrite', action='store_true', help='replace another encoder')
    return training


def read_json(text: str) -> dict:
    """Read --arch-kwargs."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'--arch-kwargs must be JSON, but is {text!r} ({error})') from error
    if not isinstance(value, dict):
        raise ValueError(f'--arch-kwargs must be a JSON object, but is {text!r}')
    return value


def read_options(args: argparse.Namespace) -> dict:
    """The fields of PretrainOptions."""
    names = (
        'arch min_crop color_jitter grayscale rotation shift epochs batch_size lr weight_decay seed'
    )
    options = {name: getattr(args, name) for name in names.split()}
    kwargs = read_json(args.arch_kwargs)
    return {**options, 'arch_kwargs': kwargs, 'in_size': args.size, 'flip': not args.no_flip}


def read_settings(args: argparse.Namespace):
    """PretrainSettings: what the result of a training does not depend on."""
    from disp_plugin.encoders.pretraining_run import PretrainSettings

    return PretrainSettings(
        args.workers, args.device, not args.no_amp, not args.no_resume, args.overwrite
    )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug, resume_hint='Give the same command to go on.'):
        from disp_plugin.encoders.pretrain_encoder import SimCLROptions, pretrain_simclr

        check_range(args, workers=0)
        options = SimCLROptions(**read_options(args), temperature=args.temperature)
        result = pretrain_simclr(
            args.data_root,
            args.out,
            options,
            args.ann_file,
            read_settings(args),
            args.white_level,
        )
    print(
        f'{result.file}: {result.prior_dim}-d priors, from {result.num_images} images in '
        f'{result.seconds:.0f} s; loss {result.loss:.3f}, {result.score:.0%} of the views find '
        f"their pair\nuse it by encoder = dict(type='CheckpointEncoder', "
        f"checkpoint='{result.file}')"
    )


if __name__ == '__main__':
    main()
