"""A page is made of whatever a run left, says what is missing, and trusts none of it."""

import json
import shutil

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.config import Config

import disp_plugin.register  # noqa: F401
from disp_plugin.evaluation.metric_card import ImageSet, MetricCard, Protocol, Snapshot, Space
from disp_plugin.evaluation.metric_card import write_cards as add_cards
from disp_plugin.evaluation.report.page import digest_config, make_report, write_report
from tests.metric_cards import card

PRIOR = {'prior_dim': 128, 'prior_norm': 'l2'}
HARM = '<script>alert(1)</script>'


def write_log(run, records):
    folder = run / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, records)))
    return folder


def write_cards(run, *cards):
    (run / 'metric_cards.json').unlink(missing_ok=True)
    add_cards(run / 'metric_cards.json', cards)


def save_checkpoint(run, name='iter_3.pth', images='gone', **changes):
    """A checkpoint of a small unconditional GAN, as mmengine writes it."""
    generator = {'type': 'DISPSNGANGenerator', 'output_scale': 16, 'noise_size': 4}
    discriminator = {'type': 'ProjDiscriminator', 'input_scale': 16, 'base_channels': 4}
    model = {
        'type': 'DISPSNGAN',
        'prior_dim': 0,
        'generator': {**generator, 'base_channels': 4, 'channels_cfg': [2, 2]},
        'discriminator': {
            'type': 'PriorProjectionDiscriminator',
            'discriminator': {**discriminator, 'channels_cfg': [2, 2], 'downsample_cfg': [1, 0]},
        },
        'data_preprocessor': {'type': 'DataPreprocessor'},
    }
    dataset = {'type': 'ImageFolderDataset', 'data_root': str(images), 'image_size': 16}
    cfg = {'model': model, 'train_dataloader': {'batch_size': 2, 'dataset': dataset}, **changes}
    state = MODELS.build(Config({'model': model}).model).state_dict()
    text = Config(cfg).pretty_text
    torch.save({'state_dict': state, 'meta': {'cfg': text, 'iter': 3}}, run / name)


def test_a_baseline_without_priors_has_all_but_walks(tmp_path, image_folder):
    save_checkpoint(tmp_path, images=image_folder)
    page = make_report(tmp_path)
    assert page.count('<img') == 1 + 12 * (1 + 3)
    assert 'nearest by pixels' in page and 'nearest by features' not in page
    assert 'This GAN takes no priors' in page
    assert '8 in ' in page and 'none (a baseline)' in page
    assert 'Cannot tell: no held-out images were given' in page
    assert 'python tools/evaluate.py' in page


def test_without_the_training_images_the_samples_are_shown_alone(tmp_path):
    save_checkpoint(tmp_path)
    page = make_report(tmp_path)
    assert page.count('<img') == 1
    assert '(not found here)' in page
    assert 'gone' in page.split('id="nearest"')[1].split('class="missing">')[1][:200]


@pytest.mark.parametrize('encoder', [None, {'type': 'NoSuchEncoder'}])
def test_without_a_usable_encoder_the_nearest_are_those_by_pixels(tmp_path, image_folder, encoder):
    save_checkpoint(tmp_path, images=image_folder, encoder=encoder)
    page = make_report(tmp_path)
    assert page.count('<img') == 1 + 12 * (1 + 3)
    assert ('encoder is not at hand' in page) == (encoder is not None)


def test_a_log_alone_makes_a_page_with_its_curves(tmp_path):
    folder = write_log(tmp_path, [{'loss': 1.0, 'iter': i, 'step': i} for i in (1, 2)])
    (folder / 'config.py').write_text('max_iters = 5\nrandomness = dict(seed=77)\n')
    page = make_report(tmp_path)
    assert page.count('<svg') == 1 and '<dd>77</dd>' in page
    assert page.count('The folder holds no checkpoint') >= 3


@pytest.mark.parametrize(
    ('break_it', 'said'),
    [
        (lambda run: (run / 'iter_3.pth').write_bytes(b'PK\x03\x04'), 'checkpoint cannot be read'),
        (lambda run: (run / 'metric_cards.json').write_text('{'), 'cards cannot be read'),
        (
            lambda run: (run / 'metric_cards.json').write_text('{"version": 9, "cards": []}'),
            'version 9',
        ),
        (lambda run: write_log(run, [{'loss': 'x', 'iter': 1, 'step': 1}, [], 3]), 'are damaged'),
        (lambda run: (run / 'iter_3.pth').write_text('hello'), 'is a text file'),
    ],
)
def test_what_is_damaged_is_said_and_the_page_is_made(tmp_path, break_it, said):
    save_checkpoint(tmp_path)
    break_it(tmp_path)
    assert said in make_report(tmp_path)


def test_everything_of_a_run_is_taken_for_text(tmp_path):
    run = tmp_path / HARM.replace('/', '')
    run.mkdir()
    names = [f'loss{HARM}', 'loss $\\frac$']
    write_log(run, [dict.fromkeys(names, 1.0) | {'iter': i, 'step': i} for i in (1, 2)])
    images = ImageSet(HARM, 3, HARM, fingerprint=HARM)
    space = Space(HARM, HARM, HARM, HARM)
    protocol = Protocol('fid', HARM, 9, space=space, reference=images, sample_model=HARM)
    details = {HARM: 1.0}
    write_cards(run, *(MetricCard(protocol, 1.0, None, details, Snapshot(i)) for i in (2, 3)))
    save_checkpoint(run, randomness={'seed': HARM}, image_size=HARM, sampler=HARM)
    page = make_report(run)
    assert '<script' not in page
    assert page.count('&lt;script&gt;') > 10


def test_the_cards_of_the_snapshot_are_judged_and_the_others_folded_away(tmp_path):
    save_checkpoint(tmp_path)
    new = card('copying9_val_x', 0.5, iteration=3)
    write_cards(tmp_path, card('copying9_val_x', -9.0, iteration=1), new)
    page = make_report(tmp_path)
    assert 'No sign of copying, by the data-copying test.' in page
    assert '1 number of other snapshots' in page
    write_cards(tmp_path, new, card('copying9_val_x', -9.0, iteration=3, seed=1))
    assert 'Signs of copying' in make_report(tmp_path)


def test_numbers_of_another_snapshot_are_said_to_be_so(tmp_path):
    save_checkpoint(tmp_path)
    write_cards(tmp_path, card('copying9_val_x', -9.0, iteration=3))
    assert 'measured at' not in make_report(tmp_path)
    write_cards(tmp_path, card('copying9_val_x', -9.0, iteration=2))
    page = make_report(tmp_path)
    assert 'Signs of copying, measured at iteration 2: see' in page
    assert 'were measured at iteration 2: this snapshot has none.' in page
    write_cards(tmp_path, card('copying9_val_x', 0.0))
    assert 'data-copying test, measured at an unknown iteration.' in make_report(tmp_path)


def test_numbers_of_other_runs_in_the_same_file_are_not_judged(tmp_path):
    (tmp_path / 'mine').mkdir()
    save_checkpoint(tmp_path / 'mine')
    copying = card('copying9_val_x', -9.0, iteration=3, run='b')
    write_cards(tmp_path / 'mine', copying, card('copying9_val_x', 0.0, iteration=3, run='mine'))
    page = make_report(tmp_path / 'mine')
    assert 'No sign of copying' in page and '1 number of other snapshots' in page
    (tmp_path / 'mine').rename(tmp_path / 'renamed')
    write_cards(tmp_path / 'renamed', copying)
    assert 'Signs of copying' in make_report(tmp_path / 'renamed')


def test_numbers_of_two_held_out_sets_of_one_name_share_no_curve(tmp_path):
    save_checkpoint(tmp_path)
    cards = [card('fid9_test_x', 4.0 + i, iteration=i) for i in (1, 2, 3)]
    floor = card('fid_floor9_test_x', 1.0, iteration=3)
    write_cards(tmp_path, *cards, floor)
    page = make_report(tmp_path)
    assert page.count('<svg') == 1 and 'memorization floor: 1' in page
    write_cards(tmp_path, *cards, floor, card('fid_floor9_test_x', 1.0, iteration=3, reference='B'))
    page = make_report(tmp_path)
    assert page.count('<svg') == 1 and 'memorization floor: 1' not in page
    write_cards(tmp_path, *cards, card('fid9_test_x', 5.0, iteration=1, reference='B'))
    assert '<svg' not in make_report(tmp_path)


def test_of_a_snapshot_of_another_run_this_folder_tells_nothing(tmp_path):
    here, there = tmp_path / 'here', tmp_path / 'there'
    for folder in (here, there):
        folder.mkdir()
        save_checkpoint(folder)
    write_log(here, [{'loss': 1.0, 'iter': i, 'step': i} for i in (1, 2, 3)])
    write_cards(here, card('copying9_val_x', -9.0, iteration=3))
    page = make_report(here, str(there / 'iter_3.pth'))
    assert 'Cannot tell' in page and '<svg' not in page and 'C_T' not in page
    assert 'does not lie in' in page and '<h1>there</h1>' in page
    for own in (here / 'iter_3.pth', there / '..' / 'here' / 'iter_3.pth'):
        page = make_report(here, str(own))
        assert 'Signs of copying' in page and '<svg' in page and 'does not lie in' not in page


def test_the_best_snapshot_is_reported_where_there_is_one(tmp_path):
    save_checkpoint(tmp_path)
    write_log(tmp_path, [{'loss': 1.0, 'iter': i, 'step': i} for i in (1, 2, 3)])
    page = make_report(tmp_path)
    assert 'No best snapshot was kept' in page and '>best<' not in page
    save_checkpoint(tmp_path, 'best_kid9_val_x_iter_2.pth')
    page = make_report(tmp_path)
    assert 'best_kid9_val_x_iter_2.pth' in page and '>best<' in page
    assert '<code>iter_3.pth</code>' in make_report(tmp_path, 'last')
    assert '<code>iter_3.pth</code>' in make_report(tmp_path, str(tmp_path / 'iter_3.pth'))


def test_half_characters_are_written_as_question_marks(tmp_path):
    save_checkpoint(tmp_path)
    write_log(tmp_path, [{'loss\ud800': 1.0, 'iter': i, 'step': i} for i in (1, 2)])
    page = write_report(tmp_path).read_text(encoding='utf-8')
    assert 'loss?' in page and page.count('<svg') == 1


def test_a_snapshot_is_not_judged_by_the_images_that_chose_it(tmp_path):
    save_checkpoint(tmp_path)
    chosen = card('copying9_val_pixels', -9.0, iteration=3)
    write_cards(tmp_path, chosen)
    said = 'of the images that chose it'
    page = make_report(tmp_path)
    assert 'Signs of copying' in page and said not in page  # the last snapshot, chosen by nothing
    best = tmp_path / 'best_kid9_val_pixels_iter_3.pth'
    shutil.copy(tmp_path / 'iter_3.pth', best)
    assert said in make_report(tmp_path)
    write_cards(tmp_path, chosen, card('copying9_report_pixels', 0.5, iteration=3))
    page = make_report(tmp_path)
    assert 'No sign of copying' in page and 'C_T is -9' not in page and said not in page
    # nor by the training images
    of_train = [card(f'{name}9_train_pixels', 0.1, iteration=3) for name in ('fid', 'kid')]
    write_cards(tmp_path, *of_train)
    assert 'no held-out images were given' in make_report(tmp_path)


def test_a_chart_that_fails_does_not_take_the_others_with_it(tmp_path):
    save_checkpoint(tmp_path)
    losses = enumerate((1.7e308, -1.7e308), 1)
    write_log(tmp_path, [{'loss': v, 'score_real': 0.5, 'iter': i, 'step': i} for i, v in losses])
    page = make_report(tmp_path)
    assert page.count('<svg') == 1 and page.count('It cannot be drawn') == 1


def test_a_digest_that_fails_does_not_take_the_page_with_it(tmp_path, monkeypatch):
    def fail(*args):
        raise ZeroDivisionError('of no use')

    monkeypatch.setattr('disp_plugin.evaluation.report.page.digest_config', fail)
    save_checkpoint(tmp_path)
    page = make_report(tmp_path)
    assert 'of no use' in page and page.count('<img') == 1


def test_another_seed_shows_other_samples(tmp_path):
    save_checkpoint(tmp_path)
    grids = {make_report(tmp_path, seed=seed).split('src="')[1][:5000] for seed in (0, 1)}
    assert len(grids) == 2


def test_a_checkpoint_that_is_not_there_is_an_error(tmp_path):
    save_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match='takes best, last or a file'):
        make_report(tmp_path, str(tmp_path / 'iter_9.pth'))


def test_a_folder_is_given_a_file_and_a_place_that_cannot_be_written_is_refused_first(
    tmp_path, monkeypatch
):
    write_cards(tmp_path)
    other = tmp_path / 'other'
    other.mkdir()
    assert write_report(tmp_path, other) == other / 'report.html'
    page = (other / 'report.html').read_text(encoding='utf-8')
    assert page.rstrip().endswith('</html>')
    monkeypatch.setattr('disp_plugin.evaluation.report.page.make_report', None)  # not reached
    (tmp_path / 'report.html').mkdir()
    for out in (None, tmp_path, other / 'report.html' / 'x'):
        with pytest.raises(ValueError, match='--out'):
            write_report(tmp_path, out)


@pytest.mark.parametrize(
    ('cfg', 'iteration', 'told'),
    [
        ({}, None, {}),
        ({'train_cfg': {'max_iters': 80}}, 60, {'iterations': '60 of 80'}),
        ({'train_cfg': {'max_iters': 80}}, None, {'iterations': '80 planned'}),
        ({}, 60, {'iterations': '60'}),
        ({'train_cfg': {}}, 0, {'iterations': '0'}),
        ({'model': PRIOR}, None, {'prior': '128 numbers, normalized by l2'}),
        (
            {'model': {**PRIOR, 'prior_length': 2.0}},
            None,
            {'prior': '128 numbers, normalized by l2 to the length 2.0'},
        ),
    ],
)
def test_a_config_is_told_as_far_as_it_is_known(cfg, iteration, told):
    assert dict(digest_config(cfg, iteration)) == told
