"""A device that is not there is refused in the user's words, whatever torch says."""

import pytest
import torch

from disp_plugin.cli.choose_device import choose_device


def test_a_device_that_is_there_is_taken():
    assert choose_device('cpu') == torch.device('cpu')
    there = 'cuda' if torch.cuda.is_available() else 'cpu'
    assert choose_device() == choose_device(there) == torch.device(there)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert choose_device() == torch.device('cuda')


@pytest.mark.parametrize('name', ['gpu', 'cuda:99', 'cuda:x', '', 'meta'])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(
        ValueError, match=rf"--device '{name}' cannot be used .*this machine has cpu"
    ):
        choose_device(name)
