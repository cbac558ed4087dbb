"""The benchmark of feature metrics: both versions find the same numbers, and say what it took."""

import json

import pytest


def test_ours_and_naive_agree_and_are_timed(tool, capsys, monkeypatch):
    benchmark = tool('benchmarks/feature_metrics.py')
    monkeypatch.setattr(benchmark, 'measure_apart', benchmark.measure)  # an import saved
    benchmark.main(['--num', '120', '--dim', '16'])
    report = json.loads(capsys.readouterr().out.strip().split('\n')[-1])
    assert report['num'] == 120 and report['rounds'] == 1
    for metric in ('manifold_scores', 'data_copying'):
        ours, naive = report[metric]['ours'], report[metric]['naive']
        assert ours['numbers'] == pytest.approx(naive['numbers'], rel=1e-4)
        assert ours['s'] > 0 and ours['peak_mib'] >= 0
        assert len(report[metric]['ratios']) == 1
