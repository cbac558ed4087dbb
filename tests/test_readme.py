"""What README says to type is understood."""

import argparse
import re
import shlex

import pytest

from disp_plugin.cli.parse_options import OptionsAction
from disp_plugin.cli.resolve_config import load_config


@pytest.fixture(scope='module')
def readme(repo_root):
    return (repo_root / 'README.md').read_text()


def parse(text):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    return parser.parse_args(['--cfg-options', *shlex.split(text)]).cfg_options


def test_every_option_of_the_recipes_names_a_field(readme, repo_root):
    recipes = readme.split('## Recipes')[1].split('\n## ')[0]
    options = [code for code in re.findall(r'`([^`]+)`', recipes) if '=' in code]
    options = [code.removeprefix('--cfg-options ') for code in options]
    assert len(options) >= 8
    for text in options:
        parsed = parse(text)
        config = 'disp_biggan_digits.py' if 'untrained' in text else 'disp_biggan_cifar10_10p.py'
        if 'data_aug' in text:
            config = 'disp_stylegan2_digits.py'
        cfg = load_config(repo_root / 'configs' / config, parsed)
        for key, value in parsed.items():
            node = cfg
            for part in key.split('.'):
                node = node[part]
            assert node == value, text


def test_every_file_that_it_names_is_there(readme, repo_root):
    names = re.findall(r'`((?:configs|tools|docs|disp_plugin)/[\w./*-]+)`', readme)
    names += re.findall(r'\]\((?!http)([\w./-]+)\)', readme)
    names += [f'configs/{name}' for name in re.findall(r'`(disp_\w+[\w.]*\.py)`', readme)]
    assert len(names) > 15
    missing = [name for name in names if not list(repo_root.glob(name.rstrip('/')))]
    assert missing == []


def test_nothing_is_left_to_fill_in(readme):
    assert '@' not in re.sub(r'\S+@\S+\.\w+', '', readme)
