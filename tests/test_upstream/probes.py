"""What a user meets, one probe per patch; the same code runs with and without the patches.

Run as a script it leaves out those patches and prints what each probe meets as JSON; the tests
call the functions in their own, patched process.
"""

import contextlib
import importlib
import io
import json
import os
import sys
import types

PROBES = {}


def probe(name, symptom, cured=None):
    """Register what a user meets without a patch (a part of it, or alternatives), and with it.

    What has no answer with its patch is compared with numbers elsewhere.
    """

    def register(function):
        PROBES[name] = types.SimpleNamespace(run=function, symptom=symptom, cured=cured)
        return function

    return register


@probe('mmcv-ext', "No module named 'mmcv._ext'", 'mmcv.ops')
def import_operators():
    return importlib.import_module('mmcv.ops').__name__


@probe('numpy-bool8', "no attribute 'bool8'", 'mmagic.utils.trans_utils')
def import_utils():
    return importlib.import_module('mmagic.utils.trans_utils').__name__


@probe('integer-labels', [4, 1], [4])
def label_shape():
    """Shape in which the labels of a batch of 4 images reach the discriminator."""
    import torch
    from mmagic.models.base_models import BaseConditionalGAN
    from mmagic.structures import DataSample

    samples = [DataSample() for _ in range(4)]
    for label, sample in enumerate(samples):
        sample.set_gt_label(label)
    labels = BaseConditionalGAN.data_sample_to_label(None, DataSample.stack(samples))
    assert labels.dtype == torch.int64
    return list(labels.shape)


@probe('loss-scaler', [None, None], ['the scaler', 'the scaler'])
def loss_scaler_after_step():
    """What the discriminator's step leaves of the optimizer wrapper's loss scaler."""
    import torch
    from mmagic.models.base_models import BaseConditionalGAN

    gan = types.SimpleNamespace(
        generator=lambda noise, label, return_noise: noise,
        discriminator=lambda image, label: image,
        _get_disc_loss=lambda values: (values['loss_scaler'], {}),
    )
    gan.data_sample_to_label = gan.noise_fn = gan.label_fn = lambda *args, **kw: torch.zeros(2)
    seen = []
    wrapper = types.SimpleNamespace(loss_scaler='the scaler', update_params=seen.append)
    BaseConditionalGAN.train_discriminator(gan, {'img': torch.zeros(2)}, None, wrapper)
    return [*seen, wrapper.loss_scaler]


@probe('logged-tensors', 'cannot be called on meta tensors', 'kept')
def log_tensor():
    """Log a loss of a device that cannot be read."""
    import torch
    from mmengine.logging import MessageHub

    MessageHub('probe').update_scalar('train/loss', torch.ones((), device='meta'))
    return 'kept'


@probe('integer-betas', 'betas must be either both floats or both Tensors', ['0.0', '0.9'])
def betas():
    """Betas of an optimizer built from a config with an integer beta."""
    import torch
    from mmagic.registry import OPTIMIZERS

    params = [torch.nn.Parameter(torch.zeros(1))]
    config = dict(type='Adam', params=params, lr=0.1, betas=(0, 0.9))
    return [repr(beta) for beta in OPTIMIZERS.build(config).param_groups[0]['betas']]


@probe('pure-operators (upfirdn2d)', 'AssertionError', 'torch.float16')
@probe('half-filter', 'AssertionError', 'torch.float16')  # the same with a compiled mmcv
def blur_in_half():
    """Type of a half-precision image after the blur of mmagic's StyleGANs."""
    import torch
    from mmagic.models.editors.stylegan1.stylegan1_modules import Blur

    return str(Blur([1, 3, 3, 1], (1, 2))(torch.zeros(1, 2, 4, 4, dtype=torch.float16)).dtype)


@probe('ajbrock-spectral-norm', False, True)
def iterate_under_autocast():
    """Whether a weight of BigGAN has one spectral norm within autocast and without."""
    import copy

    import torch
    from mmagic.models.editors.biggan.biggan_snmodule import SNLinear

    torch.manual_seed(0)
    layer = SNLinear(12, 8)
    exact, inputs = copy.deepcopy(layer), torch.randn(2, 12)
    exact(inputs)
    with torch.autocast('cpu', torch.bfloat16):
        layer(inputs)
    return torch.equal(layer.sv0, exact.sv0)


@probe('pure-operators (fused_bias_leakyrelu)', 'torch.float32', 'torch.float16')
def activate_in_half():
    """Type of half-precision features after mmcv's layer, whose bias is in single precision."""
    import mmcv.ops
    import torch

    return str(mmcv.ops.FusedBiasLeakyReLU(2)(torch.zeros(1, 2, dtype=torch.float16)).dtype)


@probe('plain-convolutions', 1, 0)
def convolution_warnings():
    """How many warnings a convolution of mmcv gives."""
    import warnings

    import mmcv.ops
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        mmcv.ops.conv2d(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1))
    return len(caught)


@probe('ada-grid-sample', 'grid_sampler_2d_backward is not implemented', [1, 1, 4, 4])
def penalize_through_geometry():
    """Second derivatives through a geometric augmentation of ADA."""
    import torch
    from mmagic.models.editors.stylegan2.ada.augment import AugmentPipe

    images = torch.rand(1, 1, 4, 4, requires_grad=True)
    loss = AugmentPipe(xint=1)(images).square().sum()
    (grad,) = torch.autograd.grad(loss, images, create_graph=True)
    (second,) = torch.autograd.grad(grad.square().sum(), images)
    return list(second.shape)


@probe('safe-checkpoints', 'Weights only load failed', 3.0)
def mean_of_loaded_history():
    """Statistics of a message hub's history, written and read as mmengine's checkpoints are."""
    import tempfile

    import torch
    from mmengine.logging import HistoryBuffer
    from mmengine.runner.checkpoint import load_from_local

    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, 'iter_1.pth')
        torch.save({'message_hub': {'loss': HistoryBuffer([1.0, 2.0, 6.0], [1, 1, 1])}}, file)
        return float(load_from_local(file, None)['message_hub']['loss'].mean())


@probe('cpu-processes', 'Torch not compiled with CUDA|No CUDA GPUs|NVIDIA')
def join_processes():
    from mmengine.dist import init_dist

    os.environ.update(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0')
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT='29512')
    init_dist('pytorch', backend='gloo')


@probe('cpu-ddp', 'device_ids')
def wrap_model():
    """A CPU module wrapped with the device ids that mmengine's runner passes."""
    import torch
    from mmengine.model import MMDistributedDataParallel

    with one_process():
        MMDistributedDataParallel(torch.nn.Linear(2, 1), device_ids=[0])


@probe('cpu-sync-batchnorm', 'SyncBatchNorm expected input tensor to be on GPU')
def normalize_in_sync():
    import torch

    with one_process():
        torch.nn.SyncBatchNorm(2)(torch.randn(4, 2))


@contextlib.contextmanager
def one_process():
    import torch.distributed

    store = torch.distributed.HashStore()
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def ask_deferred():
    """What is imported only when it is used, and whether each use then finds the real thing."""
    import mmagic.utils
    import torch
    from mmagic.evaluation.functional import fid_inception
    from mmagic.evaluation.metrics import ms_ssim
    from mmagic.utils import io_utils
    from mmengine.registry import MODEL_WRAPPERS, OPTIMIZERS

    from disp_plugin.upstream import slim_import

    names = [name for packages in slim_import.DEFERRED.values() for name in packages]
    answers = {'early': [name for name in (*names, 'torch._dynamo') if name in sys.modules]}
    block = fid_inception.FIDInceptionA(8, pool_features=8)
    answers['parents'] = [
        isinstance(block, torch.nn.Module),
        list(block(torch.rand(1, 8, 4, 4)).shape),
    ]
    answers['function'] = list(mmagic.utils.tensor2img(torch.rand(4, 3, 5, 5)).shape)
    answers['module'] = ms_ssim.signal.convolve([1, 2], [1, 1]).tolist()
    try:
        io_utils.get_content_from_url('no address')
    except io_utils.InvalidURL as error:
        answers['exception'] = type(error).__name__
    with one_process():
        weight = torch.nn.Parameter(torch.ones(1))
        optimizer = OPTIMIZERS.get('ZeroRedundancyOptimizer')([weight], 'SGD', lr=0.5)
        weight.sum().backward()
        optimizer.step()
        answers['optimizer'] = [isinstance(optimizer, torch.optim.Optimizer), weight.item()]
        wrapper = MODEL_WRAPPERS.get('MMFullyShardedDataParallel')
        answers['wrapper'] = meet(
            lambda: wrapper(torch.nn.Linear(1, 1), sharding_strategy='no such')
        )
        answers['wrapper parent'] = issubclass(wrapper, torch.nn.Module)
    return answers


def ask_slim_import():
    """What a slim mmagic holds, and what it leaves alone; the caller provides transformers."""
    from disp_plugin.upstream import slim_import

    loaded = [name for name in sys.modules if name.partition('.')[0] in slim_import.HEAVY]
    finders = [type(finder).__name__ for finder in sys.meta_path]
    import mmagic.models
    import mmagic.models.editors as editors
    import transformers
    from mmagic.datasets.transforms import albu_function
    from mmagic.models.archs import attention_injection
    from mmagic.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS
    from mmengine.registry import DefaultScope

    wanted = {
        MODELS: ['BigGAN', 'SAGAN', 'StyleGAN2', 'GANLoss'],
        DATASETS: ['ImageNet', 'CIFAR10'],
        TRANSFORMS: ['PackInputs', 'Flip'],
        HOOKS: ['VisualizationHook'],
        METRICS: ['FID'],
    }
    is_left_out = MODELS.get('RRDBNet') is None
    from mmagic.models import LSGAN, SRCNNNet
    from mmagic.models.editors import RRDBNet

    return {
        'heavy modules': loaded,
        'finders': finders,
        'later import': transformers.was_imported_for_real,
        'absent': [name for r, names in wanted.items() for name in names if r.get(name) is None],
        'left out': is_left_out,
        'asked for': [RRDBNet.__name__, MODELS.get('RRDBNet') is RRDBNet],
        'from mmagic.models': [LSGAN is editors.LSGAN, SRCNNNet.__name__],
        'unknown': hasattr(editors, 'NoSuchEditor') or hasattr(mmagic.models, 'NoSuchEditor'),
        'use of a module': meet(lambda: albu_function.albu.Compose([])),
        'use of a class': meet(lambda: attention_injection.BasicTransformerBlock()),
        'scope': DefaultScope.get_current_instance().scope_name,
    }


def meet(probe):
    """Run one probe; an exception is an answer, too."""
    try:
        return probe()
    except Exception as error:
        return f'{type(error).__name__}: {error}'


def main():
    from disp_plugin.upstream import PATCHES, apply_patches

    needed = ('mmcv-ext', 'numpy-bool8')  # without which nothing can be imported
    for patch in PATCHES:
        if patch.name in PROBES and patch.name not in needed:
            patch.state = 'left out'
    apply_patches()
    answers = {'deferred': ask_deferred(), 'slim': ask_slim_import()}
    others = [name for name in PROBES if name not in needed]
    answers.update({name: meet(PROBES[name].run) for name in others})
    # a patch acts once in a process: a second import is not patched
    for name in [name for name in sys.modules if name.startswith(('mmcv.ops', 'mmcv._ext'))]:
        del sys.modules[name]
    del sys.modules['mmagic.utils.trans_utils']
    answers.update({name: meet(PROBES[name].run) for name in needed})
    return answers


if __name__ == '__main__':
    output, sys.stdout = sys.stdout, io.StringIO()  # mmcv and mmagic print while they are imported
    print(json.dumps(main()), file=output)
