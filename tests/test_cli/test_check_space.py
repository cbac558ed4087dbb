"""A run that cannot keep its checkpoints is told so before it trains."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook
from torch import nn

from disp_plugin.cli.check_space import check_space, estimate_checkpoint_bytes


@pytest.fixture
def runner(tmp_path):
    model = nn.Sequential(nn.Linear(1000, 1000), nn.BatchNorm1d(1000))
    hook = CheckpointHook(interval=10, by_epoch=False, max_keep_ckpts=3)
    return SimpleNamespace(model=model, hooks=[hook], work_dir=str(tmp_path), max_iters=100)


def set_free(monkeypatch, num_bytes):
    usage = shutil.disk_usage('/')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage._replace(free=int(num_bytes)))


def test_the_estimate_is_the_size_of_the_file(runner, tmp_path):
    model = runner.model
    model[1].requires_grad_(False)
    optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
    model(torch.randn(4, 1000)).sum().backward()
    optimizer.step()
    torch.save([model.state_dict(), optimizer.state_dict()], tmp_path / 'x.pth')
    size = (tmp_path / 'x.pth').stat().st_size
    assert estimate_checkpoint_bytes(model) == pytest.approx(size, rel=0.01)


def test_no_room_for_two_checkpoints_is_an_error(runner, monkeypatch):
    each = estimate_checkpoint_bytes(runner.model)
    set_free(monkeypatch, 1.9 * each)
    with pytest.raises(ValueError, match=r'takes about 11 MiB.*has 22 MiB.*--work-dir'):
        check_space(runner)


def test_room_for_fewer_than_are_kept_is_a_warning(runner, monkeypatch):
    said = []
    monkeypatch.setattr(
        'disp_plugin.cli.check_space.print_log', lambda text, **kwargs: said.append(text)
    )
    each = estimate_checkpoint_bytes(runner.model)
    set_free(monkeypatch, 4.1 * each)
    check_space(runner)
    assert said == []
    set_free(monkeypatch, 3.9 * each)
    check_space(runner)
    assert len(said) == 1 and '3 are kept' in said[0]
    runner.hooks[0].max_keep_ckpts = -1
    set_free(monkeypatch, 10.9 * each)
    check_space(runner)
    assert '10 are kept' in said[1]


def test_a_run_that_saves_nothing_needs_no_room(runner, monkeypatch):
    set_free(monkeypatch, 0)
    with pytest.raises(ValueError):
        check_space(runner)
    for hooks in ([], [CheckpointHook(interval=-1, by_epoch=False)]):
        runner.hooks = hooks
        assert check_space(runner) is None
