"""benchmarks/gpu.py runs parts of which none can spoil the others."""

import shlex

import pytest


@pytest.fixture
def gpu(tool):
    return tool('benchmarks/gpu.py')


def test_each_part_has_its_row_whatever_becomes_of_it(gpu, tmp_path, monkeypatch, capsys):
    sleep, fail = '-c __import__("time").sleep(60)', '-c raise(ValueError("wrong"))'
    step = """-c print('{"ms_disp":2.5,"ratio":0.5,"seed":0}')"""
    parts = [gpu.Part('cut', 1, sleep), gpu.Part('failed', 9, fail), gpu.Part('step', 9, step)]
    monkeypatch.setattr(gpu, 'list_parts', lambda tiny: parts)
    gpu.main(['--out', str(tmp_path)])
    rows = (tmp_path / 'rows.md').read_text()
    assert rows == capsys.readouterr().out
    cells = [row.split(' | ')[-1] for row in rows.splitlines()]
    assert cells == [
        'failed (cut after 1 s):  |',
        'failed (1): ValueError: wrong |',
        'ms_disp 2.5, ratio 0.5 |',
    ]
    assert 'Traceback' in (tmp_path / '01_failed.txt').read_text()
    gpu.main(['--out', str(tmp_path), '--budget', '5', '--only', 'step'])
    assert 'left out: no time' in capsys.readouterr().out


def test_cells_hold_the_numbers_of_each_kind(gpu):
    runs = {'ours': {'images_per_s': 500.0, 'mib_cuda': 900}, 'ratio': {'images_per_s': 2.5}}
    found = gpu.summarize(f'a warning\n{gpu.json.dumps(runs)}\n')
    assert found == '2.00 s/kimg, 900 MiB, 2.5 times mmagic'
    assert gpu.summarize('{"columns": ["x"],\n"up: double": [1, 2, 0.7]}') == (
        'ours to mmcv, up: double 0.7'
    )
    assert gpu.summarize('{"rows": 5, "ours": {"s": 3.1}}') == 's 3.1'
    assert gpu.summarize('collected\n== 3 passed in 1 s ==') == '== 3 passed in 1 s =='


@pytest.mark.parametrize('tiny', [True, False])
def test_commands_are_those_of_scripts_that_exist(tiny, gpu, repo_root):
    parts = gpu.list_parts(tiny)
    assert parts[0].command.endswith('.py')
    for part in parts[1:]:
        assert (repo_root / shlex.split(part.command)[0]).is_file()
