"""A bar on a terminal, lines in a log file; neither changes what is gone through."""

import io
import sys

import pytest

from disp_plugin import progress
from disp_plugin.progress import track


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_only_long_work_is_told_line_by_line(capsys, monkeypatch):
    assert list(track(range(3), 3, 'counting')) == [0, 1, 2]
    assert capsys.readouterr() == ('', '')
    monkeypatch.setattr(progress, 'LOG_SECONDS', 0.0)
    assert list(track(range(2), 4, 'counting', unit=16, done=2)) == [0, 1]
    assert capsys.readouterr().err.splitlines() == [
        'counting: 48 of 64, about 0 minutes left',
        'counting: 64 of 64, about 0 minutes left',
    ]


def test_a_terminal_shows_what_is_done_in_units_and_with_earlier_work(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    monkeypatch.setenv('TERM', 'xterm')
    assert list(track('abc', 5, 'encoding images', unit=16, done=2)) == ['a', 'b', 'c']
    assert 'encoding images' in terminal.getvalue()
    assert '80/80' in terminal.getvalue()


def test_it_can_be_turned_off(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    assert list(track('ab', 2, 'counting', progress=False)) == ['a', 'b']
    assert terminal.getvalue() == ''


def test_the_source_starts_before_the_bar_does(monkeypatch):
    """A data loader forks its workers when it is asked for an iterator."""

    class Source:
        def __iter__(self):
            assert 'counting' not in terminal.getvalue()
            return iter('ab')

    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    assert list(track(Source(), 2, 'counting')) == ['a', 'b']


def test_an_error_in_the_loop_ends_the_bar(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', Terminal())
    with pytest.raises(ValueError):
        for item in track('ab', 2, 'counting'):
            raise ValueError(item)
    assert list(track('ab', 2, 'again')) == ['a', 'b']  # rich allows one live display at a time
