"""What a user meets, one probe per patch; the same code runs with and without the patches.

Run as a script it leaves out the patches named on the command line and prints what each probe
meets as JSON; the tests call the functions in their own, patched process.
"""

import contextlib
import functools
import io
import json
import os
import socket
import sys
import types


def import_operators():
    import mmcv.ops

    return mmcv.ops.__name__


def import_utils():
    import mmagic.utils.trans_utils

    return mmagic.utils.trans_utils.__name__


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


def loss_scaler_after_step():
    """What the discriminator's step leaves of the optimizer wrapper's loss scaler."""
    import torch
    from mmagic.models.base_models import BaseConditionalGAN

    class Gan(BaseConditionalGAN):
        def __init__(self):
            torch.nn.Module.__init__(self)

        generator = staticmethod(lambda noise, label, return_noise: noise)
        discriminator = staticmethod(lambda image, label: image)
        data_sample_to_label = noise_fn = label_fn = lambda self, *args, **kwargs: torch.zeros(2)

        def _get_disc_loss(self, values):
            self.seen = values['loss_scaler']
            return torch.zeros(()), {}

    wrapper = types.SimpleNamespace(loss_scaler='the scaler', update_params=lambda loss: None)
    gan = Gan()
    gan.train_discriminator({'img': torch.zeros(2)}, None, wrapper)
    return [gan.seen, wrapper.loss_scaler]


def betas():
    """Betas of an optimizer built from a config with an integer beta."""
    import torch
    from mmagic.registry import OPTIMIZERS

    params = [torch.nn.Parameter(torch.zeros(1))]
    config = dict(type='Adam', params=params, lr=0.1, betas=(0, 0.9))
    return [repr(beta) for beta in OPTIMIZERS.build(config).param_groups[0]['betas']]


def blur_in_half():
    """Type of a half-precision image after the blur of mmagic's StyleGANs."""
    import torch
    from mmagic.models.editors.stylegan1.stylegan1_modules import Blur

    return str(Blur([1, 3, 3, 1], (1, 2))(torch.zeros(1, 2, 4, 4, dtype=torch.float16)).dtype)


def activate_in_half():
    """Type of half-precision features after mmcv's layer, whose bias is in single precision."""
    import mmcv.ops
    import torch

    return str(mmcv.ops.FusedBiasLeakyReLU(2)(torch.zeros(1, 2, dtype=torch.float16)).dtype)


def convolution_warnings():
    """How many warnings a convolution of mmcv gives."""
    import warnings

    import mmcv.ops
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        mmcv.ops.conv2d(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1))
    return len(caught)


def penalize_through_geometry():
    """Second derivatives through a geometric augmentation of ADA."""
    import torch
    from mmagic.models.editors.stylegan2.ada.augment import AugmentPipe

    images = torch.rand(1, 1, 4, 4, requires_grad=True)
    loss = AugmentPipe(xint=1)(images).square().sum()
    (grad,) = torch.autograd.grad(loss, images, create_graph=True)
    (second,) = torch.autograd.grad(grad.square().sum(), images)
    return list(second.shape)


def probability_without_counts():
    """ADA's probability after an update before anything was counted."""
    from mmagic.models.editors.stylegan2.stylegan2_discriminator import ADAAug

    ada_aug = ADAAug(update_interval=1)
    ada_aug.update(0, 4)
    return str(ada_aug.aug_pipeline.p.item())


def probability_after_a_step(gan_name):
    """ADA's probability after a step in which another module holds the discriminator."""
    import torch
    from mmagic.models.base_models import BaseGAN
    from mmagic.models.editors.stylegan2 import StyleGAN2
    from mmagic.models.editors.stylegan2.stylegan2_discriminator import ADAAug
    from mmengine.logging import MessageHub

    def train_discriminator(inputs, data_samples, optimizer_wrapper):
        MessageHub.get_current_instance().update_info('disc_pred_real', torch.ones(4, 1))
        return {}

    gan_type = {'StyleGAN2': StyleGAN2, 'BaseGAN': BaseGAN}[gan_name]
    gan = gan_type.__new__(gan_type)
    torch.nn.Module.__init__(gan)
    gan._gen_steps, gan._disc_steps, gan._with_ema_gen = 1, 9, False
    gan.discriminator = torch.nn.Sequential(ADAAug(update_interval=1, ada_kimg=0.016))
    gan.data_preprocessor = lambda data, training: data
    gan.train_discriminator = train_discriminator
    MessageHub.get_current_instance().update_info('iter', 0)
    wrapper = types.SimpleNamespace(_accumulative_counts=1)
    wrapper.optim_context = lambda model: contextlib.nullcontext()
    data = {'inputs': {}, 'data_samples': [None] * 4}
    gan.train_step(data, {'discriminator': wrapper})
    return gan.discriminator[0].aug_pipeline.p.item()


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


def join_processes():
    """Backend of the group that a launcher's environment gives, one process."""
    import torch.distributed
    from mmengine.dist import get_backend, init_dist

    os.environ.update(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1')
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        os.environ['MASTER_PORT'] = str(server.getsockname()[1])
    try:
        init_dist('pytorch', backend='nccl')
        return get_backend()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def wrap_model():
    """A CPU module wrapped with the device ids that mmengine's runner passes."""
    import torch
    from mmengine.model import MMDistributedDataParallel

    with one_process():
        model = MMDistributedDataParallel(torch.nn.Linear(2, 1), device_ids=[0])
        return list(model(torch.zeros(3, 2)).shape)


def normalize_in_sync():
    import torch

    with one_process():
        return list(torch.nn.SyncBatchNorm(2)(torch.randn(4, 2)).shape)


@contextlib.contextmanager
def one_process():
    import torch.distributed

    store = torch.distributed.HashStore()
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def ask_slim_import():
    """What a slim mmagic holds, and what it leaves alone; the caller provides transformers."""
    from disp_plugin.upstream import slim_import

    answers = {}
    loaded = [name for name in sys.modules if name.partition('.')[0] in slim_import.HEAVY]
    answers['heavy modules'] = loaded
    answers['finders'] = [type(finder).__name__ for finder in sys.meta_path]
    import transformers

    answers['later import'] = transformers.was_imported_for_real
    from mmagic.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS

    wanted = {
        MODELS: ['BigGAN', 'SAGAN', 'StyleGAN2', 'GANLoss'],
        DATASETS: ['ImageNet', 'CIFAR10'],
        TRANSFORMS: ['PackInputs', 'Flip'],
        HOOKS: ['VisualizationHook'],
        METRICS: ['FID'],
    }
    absent = [name for r, names in wanted.items() for name in names if r.get(name) is None]
    answers['absent'] = absent
    answers['left out'] = MODELS.get('RRDBNet') is None
    import mmagic.models.editors as editors
    from mmagic.models.editors import RRDBNet

    answers['asked for'] = RRDBNet.__name__, MODELS.get('RRDBNet') is RRDBNet
    import mmagic.models
    from mmagic.models import LSGAN, SRCNNNet

    answers['from mmagic.models'] = LSGAN is editors.LSGAN, SRCNNNet.__name__
    answers['unknown'] = hasattr(editors, 'NoSuchEditor') or hasattr(mmagic.models, 'NoSuchEditor')
    answers['fine import'] = editors.BigGAN.__name__
    from mmagic.datasets.transforms import albu_function
    from mmagic.models.archs import attention_injection

    answers['use of a module'] = meet(lambda: albu_function.albu.Compose([]))
    answers['use of a class'] = meet(lambda: attention_injection.BasicTransformerBlock())
    from mmengine.registry import DefaultScope

    answers['scope'] = DefaultScope.get_current_instance().scope_name
    return answers


IMPORTS = {'mmcv-ext': import_operators, 'numpy-bool8': import_utils}

PROBES = {
    'ada-grid-sample': penalize_through_geometry,
    'ada-counts': probability_without_counts,
    'ada-search': functools.partial(probability_after_a_step, 'StyleGAN2'),
    'ada-base': functools.partial(probability_after_a_step, 'BaseGAN'),
    'plain-convolutions': convolution_warnings,
    'pure-operators (upfirdn2d)': blur_in_half,
    'half-filter': blur_in_half,
    'pure-operators (fused_bias_leakyrelu)': activate_in_half,
    'integer-labels': label_shape,
    'loss-scaler': loss_scaler_after_step,
    'integer-betas': betas,
    'safe-checkpoints': mean_of_loaded_history,
    'cpu-processes': join_processes,
    'cpu-ddp': wrap_model,
    'cpu-sync-batchnorm': normalize_in_sync,
}


def meet(probe):
    """Run one probe; an exception is an answer, too."""
    try:
        return probe()
    except Exception as error:
        return f'{type(error).__name__}: {error}'


def main(left_out):
    from disp_plugin.upstream import apply_patches, patch

    for name in left_out:
        patch._states[name] = patch.NOT_NEEDED
    apply_patches()
    answers = {'slim': ask_slim_import()}
    answers.update({name: meet(probe) for name, probe in PROBES.items()})
    # a patch acts once in a process: a second import is not patched
    for name in [name for name in sys.modules if name.startswith(('mmcv.ops', 'mmcv._ext'))]:
        del sys.modules[name]
    del sys.modules['mmagic.utils.trans_utils']
    answers.update({name: meet(probe) for name, probe in IMPORTS.items()})
    return answers


if __name__ == '__main__':
    output, sys.stdout = sys.stdout, io.StringIO()  # mmcv and mmagic print while they are imported
    answers = main(sys.argv[1:])
    print(json.dumps(answers), file=output)
