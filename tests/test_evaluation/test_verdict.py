"""The verdict on memorization says what the numbers carry, and no more."""

import pytest

from disp_plugin.evaluation.verdict import judge_run


def card(name, value):
    return {'name': name, 'value': value}


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
        ([card('copying1000_val_clean', float('nan'))], 'unknown', 'Cannot tell: neither'),
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


def test_the_evidence_is_handed_on():
    verdict = judge_run([card('copying1000_val_clean', -4.0)])
    assert verdict.findings[0].numbers == {'copying1000_val_clean': -4.0}
