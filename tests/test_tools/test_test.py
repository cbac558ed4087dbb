"""tools/test.py: the metrics of a config, from a checkpoint."""

import json

import pytest

WITH_METRIC = """
_base_ = ['{base}']
test_cfg = dict(_delete_=True, type='MultiTestLoop')
test_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ImageFolderDataset',
        data_root='{data_root}',
        ann_file='test.txt',
        image_size=16))
test_evaluator = dict(
    _delete_=True,
    type='Evaluator',
    metrics=[
        dict(
            type='SWD', prefix='swd', fake_nums=4, image_shape=(3, 16, 16), sample_model='ema')])
"""


@pytest.fixture(scope='module')
def evaluate(tool):
    return tool('test.py')


def test_the_metrics_of_the_config_are_written(
    evaluate, trained, small_run, repo_root, digits_folder, tmp_path
):
    base = repo_root / 'configs' / 'disp_biggan_digits.py'
    config = tmp_path / 'with_metric.py'
    config.write_text(WITH_METRIC.format(base=base, data_root=digits_folder))
    options = small_run.arguments(tmp_path / 'test')[3:]
    evaluate.main(
        [
            str(config),
            str(trained / 'iter_4.pth'),
            f'--work-dir={tmp_path / "test"}',
            f'--out={tmp_path / "metrics.json"}',
            *options,
        ]
    )
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
