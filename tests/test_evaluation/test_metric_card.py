"""Cards: a number cannot be parted from its protocol."""

import dataclasses
import json

import pytest

from disp_plugin.evaluation.metric_card import (
    ImageSet,
    MetricCard,
    Protocol,
    Snapshot,
    Space,
    choose_headline,
    format_cards,
    merge_cards,
    read_cards,
    write_cards,
)

CLEAN = Space('clean', 'inception', 'resize', 'ab')
TEST = ImageSet('test', 5000, 'data', False, 'cd')


def card(metric='fid', value=1.0, num=10000, iteration=None, run='', file='', **fields):
    fields = {'space': CLEAN, 'reference': TEST, **fields}
    protocol = Protocol(metric, 'test', num, **fields)
    return MetricCard(protocol, value, snapshot=Snapshot(iteration, file, run))


@pytest.mark.parametrize(
    ('fields', 'name'),
    [
        (dict(), 'fid10k_test_clean'),
        (dict(num=1000), 'fid1000_test_clean'),
        (dict(num=12345), 'fid12345_test_clean'),
        (dict(metric='precision', k=10), 'precision10k_k10_test_clean'),
        (dict(metric='density', k=5), 'density10k_test_clean'),
        (dict(metric='disc_gap', num=0, space=None), 'disc_gap_test'),
    ],
)
def test_the_name_is_the_protocol_in_short(fields, name):
    assert card(**fields).name == name


def test_names_of_splits_and_spaces_hold_no_separators():
    odd = Protocol('kid', 'my_test photos', space=Space('a_b'))
    assert odd.name == 'kid_my-test-photos_a-b'


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_no_card_holds_a_number_that_is_none(value):
    with pytest.raises(ValueError, match='fid is (nan|inf)'):
        card(value=value)


def test_unknown_metrics_are_refused():
    with pytest.raises(ValueError, match="metric 'fido' is unknown; known are fid, "):
        Protocol('fido', 'test')


def test_cards_come_back_from_their_file(tmp_path):
    file = tmp_path / 'cards.json'
    full = dataclasses.replace(
        card(iteration=2, run='a', file='b', k=3, truncation=0.5, parameters={'cells': 4}),
        standard_deviation=0.25,
        details={'trials': [1.0, 2.0], 'used_cells': 3.5},
    )
    bare = MetricCard(Protocol('ivom', 'val'), 1)
    write_cards(file, [bare, full])
    assert read_cards(file) == [bare, full]
    assert [each['name'] for each in json.loads(file.read_text())['cards']] == [
        'ivom_val',
        full.name,
    ]


def test_a_number_is_replaced_by_one_of_the_same_protocol_only():
    first = card(value=1.0, iteration=5)
    again = card(value=2.0, iteration=5, file='iter_5.pth')
    other_seed = card(value=3.0, iteration=5, seed=1)
    later = card(value=4.0, iteration=6)
    other_images = card(
        value=5.0, iteration=5, reference=dataclasses.replace(TEST, fingerprint='x')
    )
    merged = merge_cards([first], [again, other_seed, later, other_images])
    assert sorted(c.value for c in merged) == [2.0, 3.0, 4.0, 5.0]
    assert merged[-1] is later


def test_numbers_of_other_runs_files_training_sets_and_parameters_stay():
    inverted = [card('ivom', iteration=5, parameters={'steps': n}) for n in (5, 9)]
    runs = [card(iteration=5, run=name) for name in 'ab']
    files = [card(file=name) for name in ('a.pth', 'b.pth')]
    trained = [card(iteration=5, train=dataclasses.replace(TEST, fingerprint=n)) for n in 'xy']
    distinct = [*inverted, *runs, *files, *trained]
    assert len(merge_cards([], distinct)) == len(distinct)
    again = dataclasses.replace(inverted[0], details={'score': 7})
    assert len(merge_cards(inverted, [again])) == 2


@pytest.mark.parametrize(
    'change',
    [
        {'value': 'low'},
        {'value': None},
        {'value': True},
        {'value': float('nan')},
        {'value': 10**400},
        {'standard_deviation': 'x'},
        {'details': [1]},
        {'snapshot': {'iteration': 'x'}},
        {'protocol': {'metric': 'fid', 'split': 'val', 'space': 3}},
        {'protocol': {'metric': 'fid'}},
        {'protocol': {'metric': 'no', 'split': 'val'}},
        {'unknown': 1},
    ],
)
def test_fields_of_another_kind_are_refused(tmp_path, change):
    file = tmp_path / 'cards.json'
    write_cards(file, [card()])
    content = json.loads(file.read_text())
    content['cards'][0].update(change)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='does not hold metric cards'):
        read_cards(file)


@pytest.mark.parametrize('text', ['', '[]', '{"version": 3}', '{"version": 3, "cards": [3]}'])
def test_another_file_is_neither_read_nor_overwritten(tmp_path, text):
    file = tmp_path / 'cards.json'
    file.write_text(text)
    with pytest.raises(ValueError, match='does not hold metric cards'):
        write_cards(file, [card()])
    assert file.read_text() == text


def test_a_measurement_that_is_repeated_stands_there_once(tmp_path):
    file = tmp_path / 'cards.json'
    repeated = MetricCard(Protocol('copying', 'v', parameters={'cells': 2}), 1.0)
    write_cards(file, [repeated])
    content = file.read_bytes()
    write_cards(file, [repeated])
    assert file.read_bytes() == content


def test_an_altered_byte_is_told_or_changes_nothing(tmp_path):
    file = tmp_path / 'cards.json'
    write_cards(file, [card(value=12.25)])
    content, cards = file.read_bytes(), read_cards(file)
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1
        file.write_bytes(altered)
        try:
            assert read_cards(file) == cards
        except ValueError as error:
            assert str(file) in str(error)


def test_cards_of_another_version_are_refused(tmp_path):
    file = tmp_path / 'cards.json'
    file.write_text('{"version": 2, "cards": []}')
    with pytest.raises(ValueError, match='version 2'):
        read_cards(file)


def test_kid_comes_first_where_images_are_too_few_for_fid():
    kid, fid = card('kid'), card('fid')
    assert choose_headline([kid, fid]) is fid
    few = dataclasses.replace(TEST, num=2047)
    few_real = [card('kid', reference=few), card('fid', reference=few)]
    assert choose_headline(few_real).protocol.metric == 'kid'
    assert choose_headline([card('kid', num=2047), card('fid', num=2047)]).protocol.metric == 'kid'
    assert choose_headline([card('fid', num=2047)]).protocol.metric == 'fid'
    assert choose_headline([card('recall', k=3)]) is None


@pytest.mark.parametrize(
    ('metric', 'k', 'num_real', 'num', 'is_told'),
    [
        ('precision', 10, 12, 64, True),
        ('precision', 10, 21, 64, True),
        ('precision', 10, 22, 64, False),
        ('recall', 3, 5000, 7, True),
        ('recall', 3, 7, 64, False),
        ('density', 5, 11, 64, True),
        ('coverage', 5, 12, 64, False),
        ('fid', None, 2, 2, False),
    ],
)
def test_a_number_that_can_hardly_be_otherwise_says_so(metric, k, num_real, num, is_told):
    few = dataclasses.replace(TEST, num=num_real)
    told = card(metric, 1.0, num, k=k, reference=few)
    of = num if metric == 'recall' else num_real
    words = f'(says nothing: with k = {k} of {of} images, a ball holds half of them or more)'
    assert (words in format_cards([told])) == bool(told.protocol.caveat) == is_told


def test_a_table_shows_value_and_spread():
    table = format_cards([card(value=12.3456), MetricCard(Protocol('fid', 'v'), 2.0, 0.25)])
    assert table.splitlines()[0].split() == ['fid10k_test_clean', '12.346']
    assert table.splitlines()[1].split() == ['fid_v', '2', '+-', '0.25']
