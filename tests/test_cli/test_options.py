"""Options are read as configs write them, and as mmengine reads them otherwise."""

import argparse

import pytest
from mmengine.config import DictAction

from disp_plugin.cli.options import OptionsAction, parse_value


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
