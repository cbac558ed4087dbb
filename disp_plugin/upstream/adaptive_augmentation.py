"""ADA: second derivatives through its geometry, and its probability, which does not move.

**Second derivatives.**
Symptom: R1 through any geometric augmentation of ADA dies with "derivative for
aten::grid_sampler_2d_backward is not implemented"; each augmentation warns besides.
Cause: mmagic/models/editors/stylegan2/ada/grid_sample_gradfix.py:44-54 takes its own differentiable
version on torch 1.5 to 1.10 only, for an operator whose arguments have changed since.
Delete when: ``torch.nn.functional.grid_sample`` is twice differentiable.

**Probability.**
Symptom: the augmentation probability p keeps its initial value and 'augment' is missing in the log
in a distributed run, where another module holds the discriminator, and in any GAN but StyleGAN2.
``ADAAug.update`` before anything was counted makes p NaN. Checkpoints hold the scores of the last
batch, with a warning.
Cause: mmagic/models/editors/stylegan2/stylegan2.py:309 asks the wrapper for ``with_ada``, and
:198 leaves the scores and their graph in the message hub; stylegan2_discriminator.py:312 divides by
the number of images that were counted; base_models/base_gan.py:444 never looks for ``ada_aug``.
Delete when: mmagic finds ``ada_aug`` in a wrapped discriminator of any GAN and sums its counts over
processes.

Upstream: https://github.com/open-mmlab/mmagic (1.2.0).
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from disp_plugin.upstream.patch import Patch, host_module, rebind

GRID_MODULE = 'mmagic.models.editors.stylegan2.ada.grid_sample_gradfix'
GAN_MODULE = 'mmagic.models.editors.stylegan2.stylegan2'
BASE_MODULE = 'mmagic.models.base_models.base_gan'
DISCRIMINATOR_MODULE = 'mmagic.models.editors.stylegan2.stylegan2_discriminator'
SCORES = 'disc_pred_real'


def _replace_grid_sample() -> None:
    sampling = importlib.import_module('disp_plugin.upstream.operators.grid_sampling')
    rebind(host_module(GRID_MODULE).grid_sample, sampling.grid_sample)


def _require_counts() -> None:
    """Let ``ADAAug.update`` leave p as it is while nothing has been counted."""
    ada_aug = host_module(DISCRIMINATOR_MODULE).ADAAug
    update: Callable[..., None] = ada_aug.update

    @functools.wraps(update)
    def update_if_counted(self: Any, iteration: int = 0, num_batches: int = 0) -> None:
        is_due = (iteration + 1) % self.update_interval == 0
        if not is_due or self.log_buffer[0] > 0:
            update(self, iteration=iteration, num_batches=num_batches)

    ada_aug.update = update_if_counted


def _update_after_step(module: str, name: str, sees_bare: bool) -> None:
    """Update p after a training step, unless the host's step does so for a bare discriminator.

    Either way, remove the scores from the message hub, so that no checkpoint holds them.
    """
    gan_type = getattr(host_module(module), name)
    train_step: Callable[..., dict[str, object]] = gan_type.train_step

    @functools.wraps(train_step)
    def train_step_and_update(self: Any, data: dict, optim_wrapper: object) -> dict[str, object]:
        hub = host_module(BASE_MODULE).MessageHub.get_current_instance()
        log_vars = train_step(self, data, optim_wrapper)
        if not (sees_bare and getattr(self.discriminator, 'with_ada', False)):
            ada_aug_type = host_module(DISCRIMINATOR_MODULE).ADAAug
            for module in self.discriminator.modules():
                if isinstance(module, ada_aug_type):
                    _update(module, hub.get_info(SCORES), hub.get_info('iter'))
                    log_vars['augment'] = module.aug_pipeline.p.data.cpu()
        hub.runtime_info.pop(SCORES, None)
        # a model that gives its scores detached says so, and the hub forbids to say both
        hub._resumed_keys.pop(SCORES, None)
        return log_vars

    gan_type.train_step = train_step_and_update


def _update(ada_aug: Any, scores: Any, iteration: int) -> None:
    """Count the signs of the real images' scores in all processes, and update p."""
    from mmengine.dist import all_reduce

    if scores is None:
        raise RuntimeError(
            f'the discriminator has an ADAAug, but the training step left no {SCORES!r} in the '
            'message hub for it; take RegularizedBigGAN or RegularizedSNGAN of this package, or '
            "call MessageHub.update_info in train_discriminator, as mmagic's StyleGAN2 does"
        )
    counts = scores.new_tensor([len(scores), 0.0], dtype=ada_aug.log_buffer.dtype)
    counts[1] = scores.detach().sign().sum()
    all_reduce(counts)
    ada_aug.log_buffer += counts
    ada_aug.update(iteration=iteration, num_batches=int(counts[0]))


PATCHES = (
    Patch(
        name='ada-grid-sample',
        module=GRID_MODULE,
        summary='R1 through geometric augmentations of ADA fails: aten::grid_sampler_2d_backward',
        apply=_replace_grid_sample,
    ),
    Patch(
        name='ada-counts',
        module=DISCRIMINATOR_MODULE,
        summary='the augmentation probability of ADA is NaN when updated before any count',
        apply=_require_counts,
    ),
    Patch(
        name='ada-search',
        module=GAN_MODULE,
        summary='the augmentation probability of ADA does not move in a distributed run',
        apply=functools.partial(_update_after_step, GAN_MODULE, 'StyleGAN2', sees_bare=True),
    ),
    Patch(
        name='ada-base',
        module=BASE_MODULE,
        summary='the augmentation probability of ADA moves in StyleGAN2 only',
        # StyleGAN2 has a training step of its own
        apply=functools.partial(_update_after_step, BASE_MODULE, 'BaseGAN', sees_bare=False),
    ),
)
