"""What every converter of GAN weights does: read networks safely, write a file of mmagic's layout.

The written file holds ``generator.*``, ``generator_ema.module.*`` and ``discriminator.*`` under
mmagic's names, and what a model that starts from it must know: whose weights they are, the order of
their colors, and whether activations work in place. Give it as ``model.pretrained=dict(
checkpoint='FILE')``. Files are read without running code of theirs.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from disp_plugin.files import replace_file
from disp_plugin.weights import NonFiniteError, find_non_finite, list_some, read_weights

# Part of a GAN -> its prefix in mmagic's layout, and its names in files of several networks.
PREFIXES = {
    'generator': 'generator.',
    'generator_ema': 'generator_ema.module.',
    'discriminator': 'discriminator.',
}
NAMES = {
    'generator': ('generator', 'G', 'g'),
    'generator_ema': ('generator_ema', 'G_ema', 'g_ema'),
    'discriminator': ('discriminator', 'D', 'd'),
}

Network = Mapping[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """How an implementation names the weights of its networks.

    Args:
        name (str): Whose they are.
        signs (tuple[str, str]): A name that a generator, and one that a discriminator has.
        rename (callable): Gives the entries of a part of a GAN mmagic's names.
        files (tuple[tuple[str, str], ...]): Parts, and regular expressions of their files in a
            folder, whose group 1 names the snapshot. Defaults to (), no folders.
        is_in_place (bool | None): Whether activations of the discriminator work in place. Defaults
            to None, where that changes nothing.
    """

    name: str
    signs: tuple[str, str]
    rename: Callable[[str, Network], dict[str, Tensor]]
    files: tuple[tuple[str, str], ...] = ()
    is_in_place: bool | None = None


def read_file(path: Path) -> Mapping:
    """Read a file of tensors or of NumPy arrays, as :func:`read_weights` does."""
    # rosinality's training saves its options, which are plain values in a Namespace
    with torch.serialization.safe_globals([argparse.Namespace]):
        return read_weights(path).content


def _list_folder(folder: Path, patterns: Mapping[str, str]) -> dict[str, Path]:
    """Find the files of the only snapshot in a folder; group 1 of a pattern is its name."""
    snapshots: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        for part, pattern in patterns.items():
            if match := re.fullmatch(pattern, file.name):
                snapshots.setdefault(match[1] or '', {})[part] = file
    if not snapshots:
        raise FileNotFoundError(
            f'{folder} has none of the files that this converter knows; give them by --generator, '
            '--generator-ema and --discriminator'
        )
    if len(snapshots) > 1 and '' not in snapshots:
        raise ValueError(
            f'{folder} has several snapshots: {", ".join(snapshots)}; give the files of one by '
            '--generator, --generator-ema and --discriminator'
        )
    return snapshots.get('') or next(iter(snapshots.values()))


def _read_networks(args: argparse.Namespace, layouts: Sequence[Layout]) -> tuple[dict, dict]:
    """Read what the command line names: networks by part, and the whole of a single file."""
    files = {part: getattr(args, part) for part in PREFIXES if getattr(args, part)}
    if bool(args.source) == bool(files):
        raise ValueError(
            'give one file or folder, or files by --generator, --generator-ema and --discriminator'
        )
    if args.source and args.source.is_dir():
        files = _list_folder(args.source, {k: v for layout in layouts for k, v in layout.files})
    if files:
        return {part: read_file(file) for part, file in files.items()}, {}
    content = read_file(args.source)
    networks = {
        part: content[name]
        for part, names in NAMES.items()
        for name in names
        if isinstance(content.get(name), Mapping)
    }
    is_scorer = any(layout.signs[1] in content for layout in layouts)
    return networks or {'discriminator' if is_scorer else 'generator': content}, dict(content)


def convert(args: argparse.Namespace, layouts: Sequence[Layout]) -> None:
    """Read networks of one of several layouts and write them as one file of mmagic's.

    The file ends in .safetensors, or in .pth where mmagic itself is to read it.

    Args:
        args (Namespace): What :func:`main` parsed.
        layouts (Sequence[Layout]): Those that the source may have.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file cannot be read, or has none of the layouts.
    """
    networks, content = _read_networks(args, layouts)
    names = {name for network in networks.values() for name in network}
    layout = next((one for one in layouts if names & {*one.signs}), None)
    if layout is None:
        raise ValueError(
            f'these are no weights of {" or ".join(one.name for one in layouts)}: their names are '
            f'{list_some(sorted(names))}, and one of '
            f'{", ".join(sign for one in layouts for sign in one.signs)} is wanted'
        )
    state = {}
    for part, network in networks.items():
        tensors = {name: value for name, value in network.items() if isinstance(value, Tensor)}
        renamed = layout.rename(part, tensors)
        if part != 'discriminator' and isinstance(content.get('latent_avg'), Tensor):
            renamed['w_avg'] = content['latent_avg'].view(-1)
        # a tensor that two networks share is written for each
        state.update({PREFIXES[part] + name: value.clone() for name, value in renamed.items()})
    state = {name: value.contiguous() for name, value in state.items()}
    if (fault := find_non_finite(state)) is not None:
        raise NonFiniteError(f'the weights cannot be used: {fault}')
    meta = {'layout': layout.name, 'channel_order': 'RGB'}
    if layout.is_in_place is not None:
        meta['activations_in_place'] = str(layout.is_in_place)
    with replace_file(args.out) as file:
        if args.out.suffix == '.safetensors':
            file.write(save(state, meta))
        else:
            torch.save({'meta': meta, 'state_dict': state}, file)


def main(doc: str | None, layouts: Sequence[Layout], argv: list[str] | None) -> None:
    """Convert what a command line names, or end with a message where the input is at fault."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', nargs='?', type=Path, help='file, or folder with one snapshot')
    for part in PREFIXES:
        parser.add_argument(f'--{part.replace("_", "-")}', type=Path, metavar='FILE')
    parser.add_argument(
        '--out', type=Path, required=True, help='file to write: .safetensors, or .pth for mmagic'
    )
    args = parser.parse_args(argv)
    try:
        convert(args, layouts)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(f'wrote {args.out}; start from it by model.pretrained.checkpoint={args.out}')
