"""Prepare a color set drawn from matplotlib's fonts: textured letters, few-shot.

Nothing is downloaded: the fonts (DejaVu, and STIX where it has the letters) come with matplotlib. A
letter in one color and texture lies, turned and shifted a little, on a ground of another. Written
as PNG to data/glyphs:

    source/  Latin and Cyrillic letters: what an encoder may be pre-trained on
    train/   100 Georgian letters, each of the 33 three times, one of them four times: the target
    test/    other images of the Georgian letters: held out

Of the held-out images, val.txt lists 200, about 6 of each letter, by which a snapshot is chosen,
and report.txt the others, on which it is reported.

File names are <code point>_<index>.png. An image depends on its name and on --seed alone; another
release of FreeType may draw its edges a little differently.
"""

import hashlib
import math
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from matplotlib.colors import hsv_to_rgb
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from prepared_set import choose_evenly, make_key, make_parser, prepare_set, run

FONTS = (
    *('DejaVuSans', 'DejaVuSans-Bold', 'DejaVuSans-Oblique', 'DejaVuSans-BoldOblique'),
    *('DejaVuSansMono', 'DejaVuSansMono-Bold', 'DejaVuSansMono-Oblique'),
    *('DejaVuSerif', 'DejaVuSerif-Bold', 'DejaVuSerif-Italic', 'DejaVuSerif-BoldItalic'),
    *('STIXGeneral', 'STIXGeneralBol', 'STIXGeneralItalic', 'STIXGeneralBolIta'),
)
SOURCE_LETTERS = (*range(0x41, 0x5B), *range(0x61, 0x7B), *range(0x410, 0x450))
TARGET_LETTERS = range(0x10D0, 0x10F1)
NUM_PER_SOURCE_LETTER = 24
NUM_PER_TARGET_LETTER = 34
NUM_TRAIN = 100
NUM_VAL = 200
OVERSAMPLING = 4
"""The outline of a letter is drawn so many times larger, and then averaged down."""


def name_images(letters: tuple[int, ...] | range, num: int) -> list[str]:
    """Name ``num`` images of each code point: ``<code point>_<index>``."""
    return [f'{letter:04x}_{index:04d}' for letter in letters for index in range(num)]


def find_fonts() -> dict[Path, frozenset[int]]:
    """Find the font files and the code points that each has a glyph for."""
    folder = Path(get_data_path()) / 'fonts' / 'ttf'
    return {
        file: frozenset(FT2Font(str(file)).get_charmap())
        for file in (folder / f'{name}.ttf' for name in FONTS)
    }


def draw_texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw a random gradient, stripes, dots or clouds: (side,side) float in [0, 1]."""
    angle = rng.uniform(0, math.pi)
    row, column = np.mgrid[0:side, 0:side] / side
    along = column * math.cos(angle) + row * math.sin(angle)
    across = row * math.cos(angle) - column * math.sin(angle)
    frequency, phase = 2 * math.pi * rng.uniform(2, 4), rng.uniform(0, 2 * math.pi)
    match rng.choice(['gradient', 'stripes', 'dots', 'clouds']):
        case 'gradient':
            return (along - along.min()) / np.ptp(along)
        case 'stripes':
            return 0.5 + 0.5 * np.sin(frequency * along + phase)
        case 'dots':
            return 0.5 + 0.5 * np.sin(frequency * along + phase) * np.sin(frequency * across)
        case _:
            clouds = Image.fromarray(rng.uniform(size=(5, 5)).astype(np.float32))
            return np.clip(np.asarray(clouds.resize((side, side), Image.Resampling.BICUBIC)), 0, 1)


def draw_layer(rng: np.random.Generator, side: int, hue: float, value: float) -> np.ndarray:
    """Fill a square with a random texture between two shades: (side,side,3) float in [0, 1].

    The hue is in turns, and the shades lie around ``value``, a lightness in [0, 1].
    """
    shift, saturation = rng.uniform(-0.08, 0.08), rng.uniform(0.45, 0.95)
    contrast = rng.uniform(0.06, 0.16)
    ends = [
        hsv_to_rgb((tone % 1, saturation, np.clip(bright, 0, 1)))
        for tone, bright in ((hue - shift, value - contrast), (hue + shift, value + contrast))
    ]
    texture = draw_texture(rng, side)[..., None]
    return (1 - texture) * ends[0] + texture * ends[1]


def draw_mask(rng: np.random.Generator, side: int, letter: str, font_file: Path) -> np.ndarray:
    """Draw a letter, a little turned and shifted but seen whole.

    Returns:
        np.ndarray: (side,side) float in [0, 1], 1 inside of the letter.
    """
    font = ImageFont.truetype(str(font_file), side)
    left, top, right, bottom = font.getbbox(letter)
    canvas = Image.new('L', (right - left, bottom - top))
    ImageDraw.Draw(canvas).text((-left, -top), letter, fill=255, font=font)
    turned = canvas.rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC, expand=True)
    scale = rng.uniform(0.62, 0.88) * side / max(turned.size)
    width, height = (max(1, round(scale * length)) for length in turned.size)
    spare = np.array([side - width, side - height])
    shift = rng.uniform(-0.06, 0.06, 2) * side
    place = np.clip(spare / 2 + shift, 0, spare).round().astype(int)
    mask = Image.new('L', (side, side))
    mask.paste(turned.resize((width, height), Image.Resampling.BICUBIC), tuple(place.tolist()))
    return np.asarray(mask) / 255


def draw_glyph(name: str, size: int, seed: int, fonts: dict[Path, frozenset[int]]) -> np.ndarray:
    """Draw the image of a name, (size,size,3) uint8 RGB; name and seed decide everything.

    Raises:
        ValueError: No font has the letter.
    """
    code = int(name.split('_')[0], 16)
    usable = [file for file, codes in fonts.items() if code in codes]
    if not usable:
        raise ValueError(f'none of the fonts of matplotlib has the letter U+{code:04X}')
    digest = hashlib.sha256(f'{seed}:glyph:{name}'.encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], 'big'))
    font_file = usable[rng.integers(len(usable))]
    hue, is_dark = rng.uniform(), rng.uniform() < 0.5
    values = (rng.uniform(0.15, 0.4), rng.uniform(0.75, 0.95))
    ground = draw_layer(rng, size, hue, values[0] if is_dark else values[1])
    ink_hue = hue + rng.uniform(0.2, 0.8)
    ink = draw_layer(rng, size, ink_hue, values[1] if is_dark else values[0])
    mask = draw_mask(rng, size * OVERSAMPLING, chr(code), font_file)
    covered = mask.reshape(size, OVERSAMPLING, size, OVERSAMPLING).mean(axis=(1, 3))[..., None]
    return (255 * ((1 - covered) * ground + covered * ink)).round().astype(np.uint8)


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__, 'data/glyphs', size=32)
    args = parser.parse_args(argv)
    if args.size < 8:
        parser.error(f'--size must be at least 8, for letters to be told apart, but is {args.size}')
    draw = partial(draw_glyph, size=args.size, seed=args.seed, fonts=find_fonts())
    names = name_images(TARGET_LETTERS, NUM_PER_TARGET_LETTER)
    train = choose_evenly(names, NUM_TRAIN, args.seed)
    test = sorted(set(names) - set(train))
    val = choose_evenly(test, NUM_VAL, args.seed)
    source = name_images(SOURCE_LETTERS, NUM_PER_SOURCE_LETTER)
    record = {'converter': 'glyphs', 'seed': args.seed, 'size': args.size}
    with prepare_set(args.out, record) as prepared:
        for split, names in (('source', source), ('train', train), ('test', test)):
            chosen = {make_key(split, name): name for name in names}
            prepared.write_images(split, chosen, draw)
        for part, held_out in (('val', set(val)), ('report', set(test) - set(val))):
            prepared.write_manifest(part, (make_key('test', name) for name in held_out))


if __name__ == '__main__':
    run(main)
