import numpy as np
import pytest

from disp_plugin.priors import PriorBank


@pytest.fixture
def benchmark(tool, monkeypatch):
    module = tool('benchmarks/bank.py')
    for name, value in dict(NUM_LOOKUPS=640, ROUNDS=1, BLOCK_ROWS=300).items():
        monkeypatch.setattr(module, name, value)
    return module


def test_banks_of_any_size_are_written_in_blocks_and_measured(benchmark, tmp_path):
    for num_rows in (1, 1000):
        benchmark.write_random_bank(tmp_path / f'{num_rows}', num_rows, 4)
        bank = PriorBank.open(tmp_path / f'{num_rows}')
        bank.verify()
        numbers = bank.priors[:, 0, 0].astype(int) * 1000 + bank.priors[:, 0, 1].astype(int)
        assert numbers.tolist() == list(range(num_rows))
    result = benchmark.measure_banks([str(tmp_path / '1'), str(tmp_path / '1000')])
    assert [bank['rows'] for bank in result['banks']] == [1, 1000]
    assert all(bank['lookups_per_s'] > 0 for bank in result['banks'])


def test_a_look_up_that_finds_another_row_is_no_result(benchmark, tmp_path, monkeypatch):
    benchmark.write_random_bank(tmp_path / 'bank', 100, 4)
    bank = PriorBank.open(tmp_path / 'bank')
    monkeypatch.setattr(bank, 'find', lambda keys: np.zeros(len(keys), int))
    with pytest.raises(RuntimeError, match='were looked up, but'):
        benchmark.time_lookups(bank, 0, 64)
