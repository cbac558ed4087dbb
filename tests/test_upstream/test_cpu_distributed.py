"""Two processes on the CPU: the group, the wrapper and BatchNorm against one process."""

import multiprocessing
import os
import socket

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason='with a CUDA device the patches for the CPU are not needed'
)


def make_layer():
    torch.manual_seed(0)
    layer = nn.SyncBatchNorm(3)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer.double()


def make_data():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, 3, 2, 2, generator=generator, dtype=torch.float64)
    weights = torch.randn(6, 3, 2, 2, generator=generator, dtype=torch.float64)
    return images, weights


def run_rank(rank, port, queue):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    from mmengine.dist import init_dist
    from mmengine.model import MMDistributedDataParallel

    init_dist('pytorch', backend='nccl')
    layer = make_layer()
    model = MMDistributedDataParallel(layer, device_ids=[rank])
    part = slice(0, 2) if rank == 0 else slice(2, 6)  # parts of different size
    images, weights = (tensor[part] for tensor in make_data())
    images.requires_grad_()
    output = model(images)
    # DDP takes the mean of the processes' gradients, so this is the gradient of the whole sum
    (2 * (output * weights).sum()).backward()
    queue.put(
        {
            'rank': rank,
            'output': output.detach().numpy(),
            'image_grad': images.grad.numpy() / 2,
            'weight_grad': layer.weight.grad.numpy(),
            'running_mean': layer.running_mean.numpy(),
            'running_var': layer.running_var.numpy(),
        }
    )
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def ranks():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    # forked, since every other start imports torch and mmagic once more
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    processes = [context.Process(target=run_rank, args=(rank, port, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    try:
        answers = [queue.get(timeout=60) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()
    return sorted(answers, key=lambda answer: answer['rank'])


@pytest.fixture(scope='module')
def whole():
    """torch's own BatchNorm on the batch of both processes."""
    layer = nn.BatchNorm2d(3).double()
    layer.load_state_dict(make_layer().state_dict())
    images, weights = make_data()
    images.requires_grad_()
    output = layer(images)
    (output * weights).sum().backward()
    return layer, images, output


def test_two_processes_give_the_numbers_of_one_with_the_whole_batch(ranks, whole):
    layer, images, output = whole
    pairs = [
        (np.concatenate([rank['output'] for rank in ranks]), output),
        (np.concatenate([rank['image_grad'] for rank in ranks]), images.grad),
    ]
    for rank in ranks:
        pairs += [
            (rank['weight_grad'], layer.weight.grad),
            (rank['running_mean'], layer.running_mean),
            (rank['running_var'], layer.running_var),
        ]
    for found, expected in pairs:
        torch.testing.assert_close(torch.from_numpy(found), expected.detach())


def test_a_layer_in_eval_mode_or_without_a_group_is_torchs_own(whole):
    layer = whole[0]
    synced = nn.SyncBatchNorm(3).double()
    synced.load_state_dict(layer.state_dict())
    images = make_data()[0]
    torch.testing.assert_close(synced.eval()(images), layer.eval()(images))
    torch.testing.assert_close(synced.train()(images), layer.train()(images))
