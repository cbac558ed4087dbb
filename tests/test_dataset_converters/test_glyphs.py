import unicodedata

import numpy as np
import pytest
from PIL import Image

from .conftest import read_manifest


@pytest.fixture
def glyphs(converter, monkeypatch):
    """The converter with fewer images of each letter."""
    module = converter('glyphs')
    monkeypatch.setattr(module, 'SOURCE_LETTERS', module.SOURCE_LETTERS[::8])
    monkeypatch.setattr(module, 'NUM_PER_SOURCE_LETTER', 2)
    monkeypatch.setattr(module, 'NUM_PER_TARGET_LETTER', 5)
    monkeypatch.setattr(module, 'NUM_VAL', 40)
    return module


def letter_of(key):
    return chr(int(key.split('/')[1].split('_')[0], 16))


def test_alphabets_of_source_and_target_share_no_letter_and_splits_no_image(glyphs, convert):
    folder = convert('glyphs', '--size', 16)
    keys = {s: read_manifest(folder, s) for s in ('source', 'train', 'test', 'val', 'report')}
    alphabets = {
        split: {unicodedata.name(letter_of(key)).split()[0] for key in keys[split]}
        for split in keys
    }
    assert alphabets['source'] == {'LATIN', 'CYRILLIC'}
    assert all(alphabets[s] == {'GEORGIAN'} for s in ('train', 'test', 'val', 'report'))
    assert (len(keys['train']), len(keys['val'])) == (100, 40)
    assert not set(keys['train']) & set(keys['test'])
    assert sorted(keys['val'] + keys['report']) == sorted(keys['test'])
    assert not set(keys['val']) & set(keys['report'])
    for split, counts in (('train', {3, 4}), ('val', {1, 2})):
        letters = [letter_of(key) for key in keys[split]]
        assert len(set(letters)) == 33 and set(map(letters.count, letters)) == counts
    with Image.open(folder / keys['train'][0]) as image:
        assert image.size == (16, 16) and image.mode == 'RGB'


def test_an_image_depends_on_its_name_and_the_seed_alone(glyphs):
    fonts = glyphs.find_fonts()
    first, again, other, seeded = (
        glyphs.draw_glyph(name, 24, seed, fonts)
        for name, seed in (
            ('10d0_0000', 0),
            ('10d0_0000', 0),
            ('10d0_0001', 0),
            ('10d0_0000', 1),
        )
    )
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10
    assert np.abs(first.astype(int) - seeded).mean() > 10


def test_a_letter_is_drawn_only_by_fonts_that_have_it(glyphs, monkeypatch):
    fonts = glyphs.find_fonts()
    without = [file.stem for file, codes in fonts.items() if 0x10D0 not in codes]
    assert without and all('STIX' in stem for stem in without)
    drawn = set()
    real = glyphs.draw_mask

    def spy(rng, side, letter, font_file):
        drawn.add(font_file.stem)
        return real(rng, side, letter, font_file)

    monkeypatch.setattr(glyphs, 'draw_mask', spy)
    for index in range(80):
        glyphs.draw_glyph(f'10d0_{index:04d}', 8, 0, fonts)
    assert len(drawn) == len(fonts) - len(without) and not drawn & set(without)
    with pytest.raises(ValueError, match=r'none of the fonts of matplotlib has the letter U\+4E00'):
        glyphs.draw_glyph('4e00_0000', 8, 0, fonts)


def test_a_letter_is_seen_whole_and_stands_out(glyphs):
    rng = np.random.default_rng(0)
    font = next(iter(glyphs.find_fonts()))
    for _ in range(20):
        mask = glyphs.draw_mask(rng, 64, 'Щ', font)
        rows, columns = np.nonzero(mask > 0.5)
        assert mask[[0, -1]].max() < 0.5 and mask[:, [0, -1]].max() < 0.5
        assert 0.4 < max(np.ptp(rows), np.ptp(columns)) / 64 < 0.9
        assert 0.05 < mask.mean() < 0.6
