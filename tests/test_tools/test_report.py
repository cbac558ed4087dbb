"""The report of a run is one page that holds all it needs, and real browsers show it so."""

import dataclasses
import itertools
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from disp_plugin.evaluation.metric_card import ImageSet, write_cards
from tests.metric_cards import card


class Outline(HTMLParser):
    """What a page holds: open elements checked, links, headings and images."""

    def __init__(self, page):
        super().__init__()
        self.open, self.links, self.headings, self.images, self.metas = [], [], [], [], {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in ('img', 'meta', 'link'):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        values = dict(attributes)
        names = ('src', 'href', 'xlink:href', 'action', 'srcset', 'data', 'poster')
        self.links += [values[name] for name in names if name in values]
        if 'http-equiv' in values:
            self.metas[values['http-equiv']] = values['content']
        if tag == 'img':
            self.images.append(values)
        if re.fullmatch('h[1-6]', tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope='module')
def page(tool, trained, tmp_path_factory):
    """The file of the report of a small run with a number."""
    run = tmp_path_factory.mktemp('report') / 'run'
    shutil.copytree(trained, run)
    images = ImageSet('report', 1000, 'data/digits', fingerprint='ab' * 32)
    cards = []
    for space, i in itertools.product(('pixels', 'prior'), (2, 4)):
        name, drawn = f'precision1000_k10_report_{space}', dict(train=images, sample_model='ema')
        made = card(name, 3.0 + i, 0.00012345, i, space=space, **drawn)
        cards.append(dataclasses.replace(made, details={'trials': [1.23456] * 5}))
    log, *later = sorted(run.glob('*/vis_data'))
    for folder in later:  # of tests that went on with the run
        shutil.rmtree(folder.parent)
    records = [{'loss': 1.0, 'score_real': 0.5, 'iter': i, 'step': i} for i in (2, 4)]
    (log / 'scalars.json').write_text('\n'.join(map(json.dumps, records)))
    (run / 'metric_cards.json').unlink(missing_ok=True)
    write_cards(run / 'metric_cards.json', cards)
    tool('report.py').main([str(run), '--debug'])
    return run / 'report.html'


def test_the_page_is_well_formed_and_points_nowhere_else(page):
    text = page.read_text(encoding='utf-8')
    outline = Outline(text)
    assert outline.open == []
    assert all(link.startswith(('data:image/', 'data:,', '#')) for link in outline.links)
    assert not re.search(r'url\((?!#)|@import|<script', text)
    assert outline.metas['Content-Security-Policy'].startswith("default-src 'none'; img-src data:;")
    assert len(text) < 3e6


def test_every_part_of_a_whole_run_is_there(page):
    text = page.read_text(encoding='utf-8')
    outline = Outline(text)
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    # a grid, twelve samples with three images in each of two spaces, four walks
    assert len(outline.images) == 1 + 12 * (1 + 3 + 3) + 4
    assert all(image.get('alt') for image in outline.images)
    assert text.count('<svg') == 4  # losses, scores, precision in two spaces
    assert 'class="missing"' not in text
    assert '100 in ' in text and 'VicinalMixSampler' in text


def test_the_same_seed_gives_the_same_page(tool, page, tmp_path):
    out = tmp_path / 'again.html'
    tool('report.py').main([str(page.parent), '--out', str(out), '--seed', '0'])
    assert out.read_bytes() == page.read_bytes()


def test_a_folder_that_is_no_run_is_refused(tool, tmp_path, capsys):
    for folder, words in ((tmp_path, 'is no work folder of a run'), (tmp_path / 'x', 'not exist')):
        with pytest.raises(SystemExit) as stop:
            tool('report.py').main([str(folder)])
        assert stop.value.code == 2
        assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope='module')
def browser():
    """Debian's chromium, without a window."""
    driver, chromium = shutil.which('chromedriver'), shutil.which('chromium')
    if not driver or not chromium:
        pytest.skip('chromium and chromium-driver are not installed')
    selenium = pytest.importorskip('selenium.webdriver')
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'):
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    chrome = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield chrome
    chrome.quit()


def show(browser, page, width):
    metrics = {'width': width, 'height': 900, 'deviceScaleFactor': 1, 'mobile': False}
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', metrics)
    browser.get(page.as_uri())


@pytest.mark.browser
@pytest.mark.parametrize('width', [360, 1280])
def test_a_browser_shows_the_page_whole_and_asks_for_nothing(browser, page, width):
    browser.get_log('browser'), browser.get_log('performance')
    show(browser, page, width)
    assert browser.execute_script('return document.documentElement.scrollWidth') <= width
    undecoded = '[...document.images].filter(i => !i.complete || !i.naturalWidth).length'
    assert browser.execute_script(f'return {undecoded}') == 0
    assert browser.execute_script('return document.images.length') > 80
    headings = browser.execute_script(
        "return [...document.querySelectorAll('h2')].map(h => h.textContent)"
    )
    assert {'Samples', 'Curves', 'What was trained', 'Walks between priors'} <= set(headings)
    assert browser.get_log('browser') == []
    events = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    asked = [
        event['params']['request']['url']
        for event in events
        if event['method'] == 'Network.requestWillBeSent'
    ]
    assert [url for url in asked if not url.startswith('data:')] == [page.as_uri()]


@pytest.mark.browser
def test_no_text_of_a_curve_is_cut_off(browser, page):
    show(browser, page, 360)
    cut = browser.execute_script(
        """return [...document.querySelectorAll('svg')].flatMap(svg => {
            const box = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text')]
                .filter(t => t.getBoundingClientRect().right > box.right + 1)
                .map(t => t.textContent);
        })"""
    )
    assert cut == []


@pytest.mark.browser
def test_the_page_fits_paper(browser, page):
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {'media': 'print'})
    show(browser, page, 700)  # A4 without its margins
    assert browser.execute_script('return document.documentElement.scrollWidth') <= 700
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {'media': ''})
