"""Each machine gets the number format that it is good at, with the reason."""

import pytest
import torch

from disp_plugin.precision import choose_precision


@pytest.fixture
def machine(monkeypatch):
    """A function (what its hardware has) that makes this machine such a one."""

    def have(*units, capability=(9, 0)):
        for unit, question in (
            ('amx', '_is_amx_tile_supported'),
            ('avx512_bf16', '_is_avx512_bf16_supported'),
        ):
            monkeypatch.setattr(torch.cpu, question, lambda unit=unit: unit in units, raising=False)
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)

    have()
    return have


@pytest.mark.parametrize(
    ('capability', 'dtype', 'words'),
    [
        ((9, 0), torch.bfloat16, 'hardware (compute capability 9.0)'),
        ((8, 0), torch.bfloat16, 'hardware (compute capability 8.0)'),
        ((7, 5), torch.float16, 'no bfloat16 in hardware'),
    ],
)
def test_a_gpu_takes_bfloat16_from_ampere_on_and_float16_before(machine, capability, dtype, words):
    machine(capability=capability)
    found, reason = choose_precision('auto', 'cuda:0')
    assert found == dtype and words in reason


@pytest.mark.parametrize('unit', ['amx', 'avx512_bf16'])
def test_a_cpu_takes_bfloat16_where_it_has_it(machine, unit):
    machine(unit)
    found, reason = choose_precision('auto', 'cpu')
    assert found == torch.bfloat16 and reason.endswith(f'in hardware ({unit})')
    assert choose_precision('bfloat16')[1] == 'bfloat16, as asked for'


def test_elsewhere_it_stays_in_float32_and_says_that_bfloat16_would_be_slower(machine, monkeypatch):
    for device in ('cpu', 'mps'):
        found, reason = choose_precision('auto', device)
        assert found == torch.float32 and 'emulated' in reason and 'slower' in reason
    # torch may rename what it calls private
    monkeypatch.delattr(torch.cpu, '_is_amx_tile_supported')
    monkeypatch.delattr(torch.cpu, '_is_avx512_bf16_supported')
    assert choose_precision()[0] == torch.float32


def test_what_is_asked_for_is_taken_and_slow_bfloat16_is_told(machine):
    found, reason = choose_precision('bfloat16', 'cpu')
    assert found == torch.bfloat16 and 'emulates it, slower than float32' in reason
    machine('amx')
    assert choose_precision('float32', 'cpu') == (torch.float32, 'float32, as asked for')
    assert choose_precision('float16', 'cuda')[0] == torch.float16


def test_float16_on_a_cpu_and_unknown_names_are_refused(machine):
    with pytest.raises(ValueError, match="'float16', which is for GPUs, .* choose 'auto', "):
        choose_precision('float16', 'cpu')
    with pytest.raises(ValueError, match="precision is 'fp16'; it must be one of auto, float32, "):
        choose_precision('fp16', 'cpu')
