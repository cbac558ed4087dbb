"""Cards: a number cannot be parted from its protocol."""

import json

import pytest

from disp_plugin.evaluation.metric_card import (
    choose_headline,
    format_cards,
    make_card,
    merge_cards,
    read_cards,
    write_cards,
)
from disp_plugin.evaluation.metric_name import MetricName

CLEAN = dict(name='clean', encoder='inception', preprocessing='resize', fingerprint='ab')
TEST = dict(data_root='data', split='test', num=5000, flips=False, fingerprint='cd')


def card(metric='fid', value=1.0, num=10000, **fields):
    fields = {'space': CLEAN, 'reference': TEST, 'seed': 0, **fields}
    return make_card(metric, value, split='test', num_generated=num, **fields)


@pytest.mark.parametrize(
    ('fields', 'name'),
    [
        (dict(), 'fid10k_test_clean'),
        (dict(num=1000), 'fid1000_test_clean'),
        (dict(num=12345), 'fid12345_test_clean'),
        (dict(metric='precision', details=dict(k=10)), 'precision10k_k10_test_clean'),
        (dict(metric='density', details=dict(k=5)), 'density10k_test_clean'),
        (dict(metric='disc_gap', num=0, space=None), 'disc_gap_test'),
    ],
)
def test_the_name_is_the_protocol(fields, name):
    assert card(**fields)['name'] == name


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_no_card_holds_a_number_that_is_none(value):
    with pytest.raises(ValueError, match='fid is (nan|inf)'):
        card(value=value)


def test_cards_come_back_from_their_file(tmp_path):
    file = tmp_path / 'cards.json'
    cards = [card(snapshot=dict(iteration=i), value=i / 3) for i in (1, 2)]
    write_cards(file, cards)
    assert read_cards(file) == cards
    assert json.loads(file.read_text())['version'] == 1


def test_a_number_is_replaced_by_one_of_the_same_protocol_only():
    first = card(value=1.0, snapshot=dict(iteration=5))
    again = card(value=2.0, snapshot=dict(iteration=5, file='iter_5.pth'))
    other_seed = card(value=3.0, snapshot=dict(iteration=5), seed=1)
    later = card(value=4.0, snapshot=dict(iteration=6))
    other_images = card(
        value=5.0, snapshot=dict(iteration=5), reference=dict(TEST, fingerprint='xx')
    )
    merged = merge_cards([first], [again, other_seed, later, other_images])
    assert sorted(c['value'] for c in merged) == [2.0, 3.0, 4.0, 5.0]
    assert merged[-1] is later


def test_numbers_of_other_runs_files_training_sets_and_parameters_stay():
    inverted = [
        card('ivom', snapshot=dict(iteration=5), details=dict(steps=n, score=n)) for n in (5, 9)
    ]
    runs = [card(snapshot=dict(iteration=5, run=name)) for name in 'ab']
    files = [card(snapshot=dict(iteration=None, file=name)) for name in ('a.pth', 'b.pth')]
    trained = [card(snapshot=dict(iteration=5), train=dict(TEST, fingerprint=n)) for n in 'xy']
    distinct = [*inverted, *runs, *files, *trained]
    assert len(merge_cards([], distinct)) == len(distinct)
    again = card('ivom', snapshot=dict(iteration=5), details=dict(steps=5, score=7))
    assert len(merge_cards(inverted, [again])) == 2


def test_names_of_splits_and_spaces_can_be_read_again():
    odd = make_card('kid', 0.0, split='my_test photos', space=dict(CLEAN, name='a_b'))
    assert odd['name'] == 'kid_my-test-photos_a-b'
    name = MetricName.parse(odd['name'])
    assert (name.split, name.space) == ('my-test-photos', 'a-b')


@pytest.mark.parametrize('text', ['', '[]', '{"version": 1}', '{"version": 1, "cards": [3]}'])
def test_another_file_is_neither_read_nor_overwritten(tmp_path, text):
    file = tmp_path / 'cards.json'
    file.write_text(text)
    with pytest.raises(ValueError, match='does not hold metric cards'):
        write_cards(file, [card()])
    assert file.read_text() == text


def test_cards_of_a_newer_version_are_refused(tmp_path):
    file = tmp_path / 'cards.json'
    file.write_text('{"version": 2, "cards": []}')
    with pytest.raises(ValueError, match='version 2'):
        read_cards(file)


def test_kid_comes_first_where_images_are_too_few_for_fid():
    kid, fid = card('kid'), card('fid')
    assert choose_headline([kid, fid]) is fid
    few = dict(TEST, num=2047)
    few_real = [card('kid', reference=few), card('fid', reference=few)]
    assert choose_headline(few_real)['metric'] == 'kid'
    assert choose_headline([card('kid', num=2047), card('fid', num=2047)])['metric'] == 'kid'
    assert choose_headline([card('fid', num=2047)])['metric'] == 'fid'
    assert choose_headline([card('recall', details=dict(k=3))]) is None


def test_a_table_shows_value_and_spread():
    table = format_cards([card(value=12.3456), make_card('fid', 2.0, 0.25, split='v')])
    assert table.splitlines()[0].split() == ['fid10k_test_clean', '12.346']
    assert table.splitlines()[1].split() == ['fid_v', '2', '+-', '0.25']
