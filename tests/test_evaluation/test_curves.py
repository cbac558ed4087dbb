"""Curves stand in a page by themselves, labeled, and without color too."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest

from disp_plugin.evaluation.report.curves import Curves, Line, draw_curves, group_series
from disp_plugin.evaluation.report.findings import Series
from tests.metric_cards import card

SVG = '{http://www.w3.org/2000/svg}'
POINTS = [(1, 1.0), (2, 3.0), (3, 2.0)]


def histories(*names):
    return {name: Series(card(name, 1.0).protocol, POINTS) for name in names}


def plain(*names, points=POINTS, floors=()):
    return Curves('Losses', [Line(name, name, points) for name in names], dict(floors), '')


def names_of(curves):
    return [line.name for line in curves.lines]


def texts(svg):
    return [''.join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f'{SVG}text')]


@pytest.fixture(scope='module')
def svg():
    return draw_curves(plain('loss', 'loss_g', 'loss_d', floors={'floor': 1.5}), best=2)


def test_every_line_is_labelled_and_the_best_snapshot_marked(svg):
    assert {'loss', 'loss_g', 'loss_d', 'floor', 'best', 'iteration'} <= set(texts(svg))


def test_lines_differ_by_dashes_and_not_by_color_alone(svg):
    gray = re.sub('#[0-9a-f]{6}', '#000000', svg)
    # lines of data are 1.4 wide
    styles = set(re.findall(r'stroke-dasharray: ([^;"]+)[^"]*?stroke-width: 1\.4', gray))
    assert len(styles) == 2  # and the first one, which is solid
    assert 'stroke-width: 1.4; stroke-linecap: square' in gray


def test_it_scales_and_holds_nothing_but_itself(svg):
    root = ElementTree.fromstring(svg)
    assert root.tag == f'{SVG}svg' and 'viewBox' in root.attrib
    assert 'width' not in root.attrib and 'height' not in root.attrib
    assert not re.search(r'(?:src|href)="(?!#)', svg) and '<metadata' not in svg


def test_labels_of_lines_that_end_together_do_not_overlap(svg):
    places = sorted(map(float, re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>loss', svg)))
    assert len(places) == 3
    assert min(b - a for a, b in itertools.pairwise(places)) > 8


def test_what_belongs_together_is_drawn_together():
    logged = ['loss', 'loss_g', 'score_real', 'augment', 'generator.lr', 'time']
    measured = ['fid9_val_x', 'fid_floor9_val_x', 'recall9_k3_val_x', 'precision9_k3_val_x']
    floor = card('fid_floor9_val_x', 2.0)
    grouped = group_series(dict.fromkeys(logged, POINTS), histories(*measured), [floor])
    assert [names_of(curves) for curves in grouped] == [
        ['loss', 'loss_g'],
        ['score_real'],
        ['augment'],
        ['fid9_val_x'],
        ['precision9_k3_val_x', 'recall9_k3_val_x'],
    ]
    assert grouped[3].floors == {'memorization floor': 2.0}
    assert grouped[3].alt == 'fid9_val_x ends at 2; memorization floor: 2'
    assert grouped[4].lines[1].label == 'recall, k = 3'
    assert [curves.note for curves in grouped[3:]] == ['Lower is better.', 'Higher is better.']


def test_more_lines_than_can_be_told_apart_make_several_charts():
    names = [f'loss_{index}' for index in range(9)]
    grouped = group_series(dict.fromkeys(names, POINTS), {})
    assert [curves.title for curves in grouped] == ['Losses (1 of 2)', 'Losses (2 of 2)']
    assert [name for curves in grouped for name in names_of(curves)] == names
    assert set(names) <= {text for curves in grouped for text in texts(draw_curves(curves))}


@pytest.mark.parametrize(
    ('names', 'title'),
    [
        (
            ('precision9_k3_val_x', 'recall9_k3_val_x', 'density9_val_x', 'coverage9_val_x'),
            'Precision, recall, density and coverage',
        ),
        (('density9_val_x', 'recall9_k3_val_x'), 'Recall and density'),
        (('coverage9_val_x',), 'Coverage'),
    ],
)
def test_a_chart_is_titled_by_what_stands_in_it(names, title):
    (curves,) = group_series({}, histories(*names))
    assert curves.title == f'{title} (9 samples, val images, x)'


def test_numbers_of_different_protocols_do_not_share_axes_and_floors():
    names = ['fid9_val_x', 'fid8_val_x', 'fid9_test_x', 'fid9_val_y', 'kid9_val_x']
    grouped = group_series({}, histories(*names), [card('fid_floor9_val_x', 0.5)])
    titles = [curves.title for curves in grouped]
    assert len(set(titles)) == len(names)
    assert 'FID (9 samples, val images, x)' in titles
    floors = {names_of(curves)[0]: curves.floors for curves in grouped}
    assert floors == {**{name: {} for name in names}, 'fid9_val_x': {'memorization floor': 0.5}}


def test_what_was_measured_once_is_no_chart():
    once = {'fid9_val_x': Series(card('fid9_val_x', 1.0).protocol, POINTS[:1])}
    assert group_series({'loss': POINTS[:1]}, once) == []


@pytest.mark.parametrize('points', [[(5, 1.0)], [(1, 2.0), (2, 2.0)], [(1, 1e300), (2, -1e300)]])
def test_a_single_point_and_a_constant_line_can_be_drawn(points):
    assert 'loss' in texts(draw_curves(plain('loss', points=points)))
