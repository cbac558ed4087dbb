"""benchmarks/whole_run.py compares runs of one network."""

import json

import pytest

SMALL = ['--channels', '4', '--batch-size', '4', '--num-images', '20']


@pytest.fixture
def whole_run(tool):
    return tool('benchmarks/whole_run.py')


@pytest.mark.parametrize('gan', ['sngan', 'biggan'])
def test_both_networks_are_one_but_for_the_condition(gan, whole_run, tmp_path):
    args = whole_run.parse_args(['--gan', gan, *SMALL])
    ours = whole_run.make_ours(args, tmp_path)
    host = whole_run.make_host(args, tmp_path, ours)
    assert whole_run.count_weights(host) == whole_run.count_weights(ours)
    host.model.generator.base_channels = 5
    generator, discriminator = whole_run.count_weights(ours)
    other, same = whole_run.count_weights(host)
    assert other > generator and same == discriminator


def test_a_run_that_is_too_short_is_refused(whole_run, capsys):
    with pytest.raises(SystemExit):
        whole_run.parse_args(['--iters', '10', '--interval', '5'])
    assert 'leaves no interval' in capsys.readouterr().err


@pytest.mark.slow
def test_both_runs_are_timed(whole_run, capsys):
    whole_run.main(['--gan', 'sngan', *SMALL, '--iters', '4', '--interval', '2', '--skip', '1'])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result['ours'].keys() == result['mmagic'].keys() == result['ratio'].keys()
    assert result['ratio']['images_per_s'] > 0
