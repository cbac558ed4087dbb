"""tools/test.py: the metrics of a config, from a checkpoint."""

import json

import pytest

WITH_METRIC = """
_base_ = ['{base}']
swd = dict(type='SWD', prefix='swd', fake_nums=4, image_shape=(3, 16, 16), sample_model='ema')
test_evaluator = dict(_delete_=True, type='Evaluator', metrics=[swd])
"""


@pytest.fixture(scope='module')
def evaluate(tool):
    return tool('test.py')


def test_metrics_of_mmagic_are_written(evaluate, trained, small_run, tmp_path):
    base, *options = small_run.arguments(tmp_path / 'test')
    config = tmp_path / 'with_metric.py'
    config.write_text(WITH_METRIC.format(base=base))
    out = ['--out', str(tmp_path / 'metrics.json')]
    evaluate.main([str(config), str(trained / 'iter_4.pth'), *out, *options])
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['swd/avg'] > 0


def test_a_config_without_metrics_and_a_missing_checkpoint_are_refused(
    evaluate, trained, small_run, tmp_path, capsys
):
    without = ('test_dataloader=None', 'test_cfg=None', 'test_evaluator=None')
    arguments = small_run.arguments(tmp_path / 'test', *without)
    for checkpoint, message in (
        (trained / 'iter_4.pth', 'has no test_dataloader, test_cfg and test_evaluator'),
        (trained / 'iter_5.pth', 'iter_5.pth does not exist'),
    ):
        with pytest.raises(SystemExit) as stop:
            evaluate.main([arguments[0], str(checkpoint), *arguments[1:]])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
