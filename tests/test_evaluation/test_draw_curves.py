"""Curves stand in a page by themselves, labeled, and without color too."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest

from disp_plugin.evaluation.draw_curves import Curves, draw_curves, group_series

SVG = '{http://www.w3.org/2000/svg}'
LINE = [(1, 1.0), (2, 3.0), (3, 2.0)]


def texts(svg):
    return [''.join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f'{SVG}text')]


@pytest.fixture(scope='module')
def svg():
    curves = Curves('Losses', {'loss': LINE, 'loss_g': LINE, 'loss_d': LINE}, {'floor': 1.5}, '')
    return draw_curves(curves, best=2)


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
    found = re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>loss', svg)
    places = sorted(map(float, found))
    assert len(places) == 3
    assert min(b - a for a, b in itertools.pairwise(places)) > 8


def test_what_belongs_together_is_drawn_together():
    names = ['loss', 'loss_g', 'score_real', 'augment', 'generator.lr', 'time']
    names += ['fid9_val_x', 'fid_floor9_val_x', 'recall9_k3_val_x', 'precision9_k3_val_x']
    grouped = group_series(dict.fromkeys(names, LINE))
    assert [list(curves.series) for curves in grouped] == [
        ['loss', 'loss_g'],
        ['score_real'],
        ['augment'],
        ['fid9_val_x'],
        ['recall9_k3_val_x', 'precision9_k3_val_x'],
    ]
    assert grouped[3].floors == {'memorization floor': 2.0}


def test_more_lines_than_can_be_told_apart_make_several_charts():
    names = [f'loss_{index}' for index in range(9)]
    grouped = group_series(dict.fromkeys(names, LINE))
    assert [curves.title for curves in grouped] == ['Losses (1 of 2)', 'Losses (2 of 2)']
    assert [name for curves in grouped for name in curves.series] == names
    assert set(names) <= {text for curves in grouped for text in texts(draw_curves(curves))}


@pytest.mark.parametrize(
    ('metrics', 'title'),
    [
        (('precision', 'recall', 'density', 'coverage'), 'Precision, recall, density and coverage'),
        (('density', 'recall'), 'Recall and density'),
        (('coverage',), 'Coverage'),
    ],
)
def test_a_chart_is_titled_by_what_stands_in_it(metrics, title):
    (curves,) = group_series({f'{metric}9_val_x': LINE for metric in metrics})
    assert curves.title == f'{title} (9 samples, val images, x)'


def test_numbers_of_different_protocols_do_not_share_axes():
    names = ['fid9_val_x', 'fid8_val_x', 'fid9_test_x', 'fid9_val_y', 'kid9_val_x']
    titles = [curves.title for curves in group_series(dict.fromkeys(names, LINE))]
    assert len(set(titles)) == len(names)
    assert 'FID (9 samples, val images, x)' in titles


def test_a_floor_that_was_measured_once_is_taken_from_its_card():
    series = {'kid9_val_x': LINE, 'kid9_val_y': LINE}
    grouped = group_series(series, [{'name': 'kid_floor9_val_x', 'value': 0.5}])
    assert [curves.floors for curves in grouped] == [{'memorization floor': 0.5}, {}]


def test_a_single_point_and_a_constant_line_can_be_drawn():
    for points in ([(5, 1.0)], [(1, 2.0), (2, 2.0)], [(1, 1e300), (2, -1e300)]):
        assert 'loss' in texts(draw_curves(Curves('Losses', {'loss': points}, {}, '')))
