"""Each rule speaks where its numbers say so, and is silent where there are none."""

import pytest

from disp_plugin.evaluation.findings import find_signs


def card(name, value, sd=None, **details):
    return {'name': name, 'value': value, 'standard_deviation': sd, 'details': details}


def of(subject, cards, history=()):
    return [finding for finding in find_signs(cards, history) if finding.subject == subject]


@pytest.mark.parametrize(
    ('value', 'severity', 'word'),
    [
        (-3.1, 'warning', 'closer'),
        (-3.0, 'good', 'as far'),
        (3.0, 'good', 'as far'),
        (3.1, 'warning', 'underfitting'),
        (float('nan'), 'unknown', 'says nothing'),
    ],
)
def test_the_data_copying_test_is_read_at_three_standard_deviations(value, severity, word):
    (finding,) = of('copying', [card('copying1000_val_pixels', value)])
    assert finding.severity == severity
    assert word in finding.text and '(split val, space pixels)' in finding.text
    assert finding.numbers.keys() == {'copying1000_val_pixels'}


@pytest.mark.parametrize('metric', ['fid', 'kid'])
@pytest.mark.parametrize(
    ('value', 'sd', 'severity'),
    [(5.0, None, 'good'), (9.0, 1.0, 'unknown'), (10.0, None, 'warning'), (12.0, 5.0, 'warning')],
)
def test_novelty_is_credited_only_below_the_memorization_floor(metric, value, sd, severity):
    floor = card(f'{metric}_floor1000_test_clean', 10.0, sd)
    (finding,) = of('floor', [card(f'{metric}1000_test_clean', value, sd), floor])
    assert finding.severity == severity
    assert set(finding.numbers.values()) == {value, 10.0}


@pytest.mark.parametrize(
    ('floor', 'is_comparable'),
    [
        ('fid_floor1000_test_clean', True),
        ('fid_floor500_test_clean', False),
        ('fid_floor1000_val_clean', False),
        ('fid_floor1000_test_simclr', False),
        ('kid_floor1000_test_clean', False),
    ],
)
def test_a_floor_counts_only_for_its_own_protocol(floor, is_comparable):
    found = of('floor', [card('fid1000_test_clean', 5.0), card(floor, 10.0)])
    assert bool(found) == is_comparable


def measured(name, value, seed=0, **fingerprints):
    parts = {key: {'fingerprint': mark} for key, mark in fingerprints.items()}
    return {'name': name, 'value': value, 'seed': seed, **parts}


def test_of_held_out_sets_that_share_a_name_each_has_its_own_floor():
    cards = [
        measured('fid_floor9_test_x', 4.0, reference='A'),
        measured('fid_floor9_test_x', 0.5, reference='B'),
        measured('fid9_test_x', 5.0, reference='A'),
        measured('fid9_test_x', 1.0, reference='B'),
    ]
    for order in (cards, cards[::-1]):
        assert {f.severity for f in of('floor', order)} == {'warning'}


@pytest.mark.parametrize(
    ('changes', 'is_comparable'),
    [
        ({}, True),
        ({'seed': 1}, False),
        ({'seed': None}, True),
        ({'reference': 'B'}, False),
        ({'reference': None}, True),
        ({'space': 'S2'}, False),
    ],
)
def test_numbers_of_other_images_spaces_or_seeds_are_not_compared(changes, is_comparable):
    same = {'reference': 'A', 'space': 'S', 'seed': 0}
    fid, recall = measured('fid9_val_x', 5.0, **same), measured('recall9_k3_val_x', 0.0, **same)
    others = {**same, **changes}
    floor = measured('fid_floor9_val_x', 9.0, **others)
    precision = measured('precision9_k3_val_x', 0.9, **others)
    assert bool(of('floor', [fid, floor])) == is_comparable
    assert bool(of('recall', [recall, precision])) == is_comparable


def test_a_scalar_of_the_log_is_compared_with_the_floor_of_its_name():
    floor = measured('fid_floor9_val_x', 9.0, reference='A')
    assert of('floor', [{'name': 'fid9_val_x', 'value': 5.0}, floor])


@pytest.mark.parametrize('value', [-0.5, 0.5])
def test_the_gap_is_said_in_the_way_it_goes(value):
    (finding,) = of('gap', [card('disc_gap_val', value, gap_in_sd=value)])
    way = 'lower' if value < 0 else 'higher'
    assert f'0.50 {way} than held-out ones, 0.5 standard' in finding.text


def test_the_gap_of_scores_is_large_beyond_one_standard_deviation():
    assert of('gap', [card('disc_gap_val', 0.5, gap_in_sd=0.9)])[0].severity == 'good'
    (finding,) = of('gap', [card('disc_gap_val', 0.5, gap_in_sd=1.1)])
    assert finding.severity == 'warning' and '1.1 standard deviations' in finding.text


def test_the_scalar_beside_the_gap_of_the_same_split_is_read_too():
    cards = [card('disc_gap_val', 0.5), card('disc_gap_in_sd_val', 2.0)]
    assert of('gap', cards)[0].severity == 'warning'
    assert of('gap', [card('disc_gap_test', 0.5), card('disc_gap_in_sd_val', 2.0)]) == []


def test_a_gap_that_grows_is_a_warning_and_one_that_shrinks_is_not():
    growing = [(i, {'disc_gap_val': i / 10}) for i in (1, 2, 3)]
    (finding,) = of('gap', [card('disc_gap_val', 0.3)], growing)
    assert finding.severity == 'warning' and 'has grown over the last 3' in finding.text
    shrinking = [(i, {'disc_gap_val': 1 - i / 10}) for i in (1, 2, 3)]
    assert of('gap', [card('disc_gap_val', 0.7)], shrinking)[0].severity == 'good'
    assert of('gap', [card('disc_gap_val', 0.3)], growing[1:]) == []


def test_recall_near_zero_is_a_warning_only_where_precision_is_high():
    recall = card('recall1000_k40_val_clean', 0.01)
    assert of('recall', [recall, card('precision1000_k10_val_clean', 0.9)])[0].severity == 'warning'
    assert of('recall', [recall, card('precision1000_k10_val_clean', 0.2)]) == []
    assert of('recall', [recall, card('precision1000_k10_val_pixels', 0.9)]) == []
    better = card('recall1000_k40_val_clean', 0.2)
    partner = card('precision1000_k10_val_clean', 0.9)
    assert of('recall', [better, partner])[0].severity == 'good'
    # nothing good is said of samples that are poor
    assert of('recall', [better, card('precision1000_k10_val_clean', 0.03)]) == []
    assert of('recall', [better, card('precision1000_k10_val_clean', float('nan'))]) == []


def test_recall_is_paired_with_the_precision_of_the_same_k():
    cards = [
        card('precision1000_k10_val_clean', 0.9),
        card('precision1000_k3_val_clean', 0.3),
        card('recall1000_k3_val_clean', 0.01),
    ]
    assert of('recall', cards) == []


@pytest.mark.parametrize(
    ('name', 'values', 'warns'),
    [
        ('fid1000_val_clean', [9, 5, 6, 6, 6], True),
        ('fid1000_val_clean', [9, 5, 6, 5.2, 6], False),
        ('fid1000_val_clean', [9, 6, 6, 5], False),
        ('fid1000_val_clean', [5, 6, 6], False),
        ('kid1000_val_clean', [0.1, 0.0001, 0.0002, 0.0002, 0.0002], False),
        ('kid1000_val_clean', [0.1, 0.0001, 0.05, 0.05, 0.05], True),
        ('recall1000_k3_val_clean', [0.1, 0.4, 0.3, 0.3, 0.2], True),
        ('recall1000_k3_val_clean', [0.1, 0.4, 0.38, 0.38, 0.38], False),
        ('copying1000_val_clean', [-9, 0, 1, 2, 2], False),
        ('fid1000_val_clean', [9, 5, float('nan'), 6, 6], False),
    ],
)
def test_a_trend_is_three_validations_clearly_worse_than_the_best(name, values, warns):
    found = of('trend', [], [(100 * i, {name: value}) for i, value in enumerate(values)])
    assert bool(found) == warns
    if warns:
        assert 'best at iteration 100' in found[0].text


@pytest.mark.parametrize(
    ('good', 'bad', 'warns'),
    [('prior', 'pixels', True), ('pixels', 'prior', False), ('clean', 'pixels', False)],
)
def test_credit_in_the_priors_space_alone_is_said_to_flatter(good, bad, warns):
    cards = [
        card(f'fid1000_val_{good}', 5.0),
        card(f'fid_floor1000_val_{good}', 9.0),
        card(f'fid1000_val_{bad}', 5.0),
        card(f'fid_floor1000_val_{bad}', 4.0),
    ]
    found = of('spaces', cards)
    assert len(found) == warns
    for number in cards[:2]:
        number['reference'] = {'fingerprint': 'A'}
    for number in cards[2:]:
        number['reference'] = {'fingerprint': 'B'}
    assert of('spaces', cards) == []
    if warns:
        assert "the prior's encoder but not in that of pixels: trust" in found[0].text


def test_warnings_come_first():
    cards = [card('copying1000_val_pixels', 0.0), card('copying1000_val_simclr', -9.0)]
    assert [f.severity for f in find_signs(cards)] == ['warning', 'good']


@pytest.mark.parametrize(
    'cards',
    [
        [],
        [{}],
        [{'name': 'copying1000_val_pixels'}],
        [card('copying1000_val_pixels', 'low')],
        [card('copying1000_val_pixels', None)],
        [card('something else', -9.0)],
        [{'name': 5, 'value': 5}],
        [card('disc_gap_val', 0.5)],
    ],
)
def test_without_its_numbers_no_rule_finds_anything(cards):
    assert find_signs(cards) == []
