"""Options are read as configs write them, and as mmengine reads them otherwise."""

import argparse

import pytest
from mmengine.config import DictAction

from disp_plugin.cli.options import OptionsAction, make_parser, parse_value


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ("dict(type='TimmEncoder', model='a', x=-1)", dict(type='TimmEncoder', model='a', x=-1)),
        ("[dict(type='A'), dict(type='B')]", [dict(type='A'), dict(type='B')]),
        ("{'a': (1, 2.5)}", {'a': (1, 2.5)}),
        ('{"a": [true, null]}', {'a': [True, None]}),
        ('2024_05', '2024_05'),
        ("'5'", '5'),
    ],
)
def test_values_of_configs_are_read_as_such(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize(
    'text', ['5', '1e-4', 'true', 'None', 'photos/a', 'a,b', '1,2', '(1,2)', '[1,[2,3]]', '[a,b]']
)
def test_plain_values_are_read_as_mmengine_reads_them(text):
    theirs = DictAction._parse_iterable(text)
    assert parse_value(text) == theirs and type(parse_value(text)) is type(theirs)


def test_nothing_is_executed(tmp_path):
    file = tmp_path / 'executed'
    with pytest.raises(ValueError, match='no value that a config could hold'):
        parse_value(f'[open({str(file)!r}, "w")]')
    assert not file.exists()


def test_options_add_up_and_what_is_none_is_refused(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    args = parser.parse_args(['--cfg-options', 'a=1', 'b.c=x=y', '--cfg-options', 'd=2'])
    assert args.cfg_options == {'a': 1, 'b.c': 'x=y', 'd': 2}
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'a'])
    assert "takes KEY=VALUE, but got 'a'" in capsys.readouterr().err


def test_an_error_of_the_command_line_is_one_line_with_the_nearest_option(capsys):
    parser = make_parser('')
    parser.add_argument('--num', type=int)
    for arguments, words in (
        (['--nmu', '3'], 'unrecognized arguments: --nmu 3; did you mean --num?'),
        (['--num', 'x'], "--num: invalid int value: 'x'"),
    ):
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(arguments)
        said = capsys.readouterr().err
        assert stop.value.code == 2 and words in said and said.count('\n') == 1


def test_the_home_folder_is_expanded_in_every_argument(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    parser = make_parser('')
    parser.add_argument('--out')
    parser.add_argument('images', nargs='*')
    args = parser.parse_args(['--out=~/out', '~/a.png', 'b~.png'])
    assert (args.out, args.images) == ('/home/me/out', ['/home/me/a.png', 'b~.png'])
