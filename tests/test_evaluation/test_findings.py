"""Each rule speaks where its numbers say so; the verdict says what the numbers carry."""

import dataclasses

import pytest

from disp_plugin.evaluation.metric_card import Space, format_cards
from disp_plugin.evaluation.report.findings import Series, find_signs, judge_run
from tests.metric_cards import card


def history(name, values):
    """Validations every 100 iterations."""
    points = [(100 * i, value) for i, value in enumerate(values)]
    return {name: Series(card(name, 0.0).protocol, points)}


def of(subject, cards, history=None):
    return [finding for finding in find_signs(cards, history) if finding.subject == subject]


@pytest.mark.parametrize(
    ('value', 'severity', 'word'),
    [
        (-3.1, 'warning', 'closer'),
        (-3.0, 'good', 'as far'),
        (3.0, 'good', 'as far'),
        (3.1, 'warning', 'underfitting'),
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


def test_of_held_out_sets_that_share_a_name_each_has_its_own_floor():
    cards = [
        card('fid_floor9_test_x', 4.0, reference='A'),
        card('fid_floor9_test_x', 0.5, reference='B'),
        card('fid9_test_x', 5.0, reference='A'),
        card('fid9_test_x', 1.0, reference='B'),
    ]
    for order in (cards, cards[::-1]):
        assert {f.severity for f in of('floor', order)} == {'warning'}


@pytest.mark.parametrize(
    ('changes', 'is_comparable'),
    [({}, True), ({'seed': 1}, False), ({'reference': 'B'}, False), ({'space': 'S2'}, False)],
)
def test_numbers_of_other_images_spaces_or_seeds_are_not_compared(changes, is_comparable):
    same = {'reference': 'A', 'space': 'S', 'seed': 0}
    fid, recall = card('fid9_val_x', 5.0, **same), card('recall9_k3_val_x', 0.0, **same)
    others = {**same, **changes}
    floor = card('fid_floor9_val_x', 9.0, **others)
    precision = card('precision9_k3_val_x', 0.9, **others)
    assert bool(of('floor', [fid, floor])) == is_comparable
    assert bool(of('recall', [recall, precision])) == is_comparable


@pytest.mark.parametrize('value', [-0.5, 0.5])
def test_the_gap_is_said_in_the_way_it_goes(value):
    (finding,) = of('gap', [card('disc_gap_val', value), card('disc_gap_in_sd_val', value)])
    way = 'lower' if value < 0 else 'higher'
    assert f'0.50 {way} than held-out ones, 0.5 standard' in finding.text


def test_the_gap_of_scores_is_large_beyond_one_standard_deviation():
    gap = card('disc_gap_val', 0.5)
    assert of('gap', [gap, card('disc_gap_in_sd_val', 0.9)])[0].severity == 'good'
    (finding,) = of('gap', [gap, card('disc_gap_in_sd_val', 1.1)])
    assert finding.severity == 'warning' and '1.1 standard deviations' in finding.text
    assert of('gap', [card('disc_gap_test', 0.5), card('disc_gap_in_sd_val', 2.0)]) == []


def test_a_gap_that_grows_is_a_warning_and_one_that_shrinks_is_not():
    growing = history('disc_gap_val', [0.1, 0.2, 0.3])
    (finding,) = of('gap', [card('disc_gap_val', 0.3)], growing)
    assert finding.severity == 'warning' and 'has grown over the last 3' in finding.text
    shrinking = history('disc_gap_val', [0.9, 0.8, 0.7])
    assert of('gap', [card('disc_gap_val', 0.7)], shrinking)[0].severity == 'good'
    assert of('gap', [card('disc_gap_val', 0.3)], history('disc_gap_val', [0.2, 0.3])) == []


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
    ],
)
def test_a_trend_is_three_validations_clearly_worse_than_the_best(name, values, warns):
    found = of('trend', [], history(name, values))
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
    elsewhere = [card(c.name, c.value, reference='B') for c in cards[2:]]
    assert of('spaces', [*cards[:2], *elsewhere]) == []
    if warns:
        assert "the prior's encoder but not in that of pixels: trust" in found[0].text


def test_a_space_of_the_network_that_d_sees_by_is_not_trusted_either():
    cards = [card(f'kid{part}1000_test_{space}', value) for space, part, value in (
        ('lite1', '', 1.0), ('lite1', '_floor', 2.0), ('pixels', '', 3.0), ('pixels', '_floor', 2.0)
    )]  # fmt: skip
    assert of('spaces', cards) == []
    seen = Space('lite1', is_seen_by_d=True)
    for row in (0, 1):
        protocol = dataclasses.replace(cards[row].protocol, space=seen)
        cards[row] = dataclasses.replace(cards[row], protocol=protocol)
    (finding,) = of('spaces', cards)
    assert "in the space of D's network but not in that of pixels" in finding.text
    lines = format_cards(cards).splitlines()
    assert ['flatters: D was trained' in line for line in lines] == [True, True, False, False]


def test_warnings_come_first():
    cards = [card('copying1000_val_pixels', 0.0), card('copying1000_val_simclr', -9.0)]
    assert [f.severity for f in find_signs(cards)] == ['warning', 'good']


@pytest.mark.parametrize('cards', [[], [card('disc_gap_val', 0.5)], [card('fid9_val_x', 0.5)]])
def test_without_its_numbers_no_rule_finds_anything(cards):
    assert find_signs(cards) == []


FLOOR = card('fid_floor1000_val_clean', 10.0)


@pytest.mark.parametrize(
    ('cards', 'severity', 'sentence'),
    [
        ([card('copying1000_val_clean', -4.0)], 'warning', 'Signs of copying'),
        # one space that shows it is enough, whatever the other says
        (
            [card('copying1000_val_clean', 0.0), card('copying1000_val_simclr', -4.0)],
            'warning',
            'Signs of copying',
        ),
        (
            [card('copying1000_val_clean', -4.0), card('fid1000_val_clean', 5.0), FLOOR],
            'warning',
            'Signs of copying',
        ),
        ([card('copying1000_val_clean', 0.0)], 'good', 'by the data-copying test.'),
        ([card('copying1000_val_clean', 9.0)], 'good', 'test, in a model that underfits.'),
        (
            [card('fid1000_val_clean', 5.0), FLOOR],
            'good',
            'No sign of copying, by the memorization floor',
        ),
        # the prior's own space flatters
        (
            [
                *(card('fid1000_val_clean', 50.0), FLOOR),
                *(card('fid1000_val_simclr', 5.0), card('fid_floor1000_val_simclr', 9.0)),
            ],
            'unknown',
            'Cannot tell: neither',
        ),
        # as bad as repeating the training images: a poor model, or a copying one
        ([card('fid1000_val_clean', 50.0), FLOOR], 'unknown', 'Cannot tell: neither'),
        ([card('fid1000_val_clean', 5.0)], 'unknown', 'Cannot tell: neither'),
        ([card('fid1000_train_clean', 5.0)], 'unknown', 'no held-out images were given'),
        ([], 'unknown', 'no held-out images were given'),
    ],
)
def test_the_sentence_follows_the_evidence(cards, severity, sentence):
    verdict = judge_run(cards)
    assert verdict.severity == severity
    assert sentence in verdict.sentence


@pytest.mark.parametrize('value', [-4.0, 0.0, 9.0])
def test_a_verdict_on_another_snapshot_says_which_was_measured(value):
    verdict = judge_run([card('copying1000_val_clean', value)], measured='at iteration 800')
    assert ', measured at iteration 800' in verdict.sentence
    assert verdict.sentence.endswith('.')
