"""Two processes on the CPU: the group, the wrapper and BatchNorm against one process."""

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from torch import nn

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason='with a CUDA device the patches for the CPU are not needed'
)


def make_layer(kind=nn.SyncBatchNorm):
    torch.manual_seed(0)
    layer = kind(3)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer.double()


def run(layer, part, module=None, factor=1):
    """Send a part of the batch forth and back; give all that came of it."""
    generator = torch.Generator().manual_seed(1)
    images, weights = torch.randn(2, 6, 3, 2, 2, generator=generator, dtype=torch.float64)[:, part]
    images.requires_grad_()
    output = (module or layer)(images)
    (factor * (output * weights).sum()).backward()
    return {
        'parts': [output.detach(), images.grad / factor],
        'whole': [layer.weight.grad, layer.running_mean, layer.running_var],
    }


def run_rank(rank):
    layer = make_layer()
    model = MMDistributedDataParallel(layer, device_ids=[rank])
    part = slice(0, 2) if rank == 0 else slice(2, 6)  # parts of different size
    # DDP takes the mean of the processes' gradients, so this is the gradient of the whole sum
    return run(layer, part, model, factor=2)


def test_two_processes_give_the_numbers_of_one_with_the_whole_batch(two_processes):
    expected = run(make_layer(nn.BatchNorm2d), slice(None))
    ranks = two_processes(run_rank)
    parts = [torch.cat(pair) for pair in zip(*(rank['parts'] for rank in ranks), strict=True)]
    torch.testing.assert_close(parts, expected['parts'])
    for rank in ranks:
        torch.testing.assert_close(rank['whole'], expected['whole'])


def run_narrow_rank(rank):
    layer = make_layer().float()
    images = draw_narrow()[slice(0, 2) if rank == 0 else slice(2, 6)]
    return [layer(images).detach(), layer.running_mean, layer.running_var]


def draw_narrow():
    """Features whose variance sums in bfloat16 would lose."""
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return (images + 20).bfloat16()


def test_statistics_of_bfloat16_are_in_float32(two_processes):
    layer = make_layer(nn.BatchNorm2d).float()
    expected = layer(draw_narrow())
    ranks = two_processes(run_narrow_rank)
    found = torch.cat([rank[0] for rank in ranks])
    assert found.dtype == torch.bfloat16
    # both round once, to either side
    torch.testing.assert_close(found, expected, rtol=2.0**-7, atol=1e-5)
    for _, mean, var in ranks:
        torch.testing.assert_close([mean, var], [layer.running_mean, layer.running_var])


def test_a_layer_in_eval_mode_or_without_a_group_is_torchs_own():
    layers = make_layer(), make_layer(nn.BatchNorm2d)
    images = torch.randn(6, 3, 2, 2, dtype=torch.float64)
    for is_training in (False, True):
        synced, plain = (layer.train(is_training)(images) for layer in layers)
        torch.testing.assert_close(synced, plain)
