"""The probability of ADA's augmentations, which does not move, or becomes NaN.

Symptom: in a distributed run, where another module holds the discriminator, and in any GAN but
StyleGAN2, the augmentation probability p keeps its initial value and 'augment' is missing in the
log. ``ADAAug.update`` before anything was counted makes p NaN. Checkpoints hold the scores of the
last batch, with a warning.
Cause: mmagic/models/editors/stylegan2/stylegan2.py:309 asks the wrapper for ``with_ada``, and
:198 leaves the scores and their graph in the message hub; stylegan2_discriminator.py:312 divides by
the number of images that were counted; base_models/base_gan.py:444 never looks for ``ada_aug``.
Upstream: https://github.com/open-mmlab/mmagic (1.2.0).
Delete when: mmagic finds ``ada_aug`` in a wrapped discriminator of any GAN and sums its counts over
processes.
"""

import functools
from collections.abc import Iterator
from typing import Any

from disp_plugin.upstream.repair import Repair, host_module

GAN_MODULE = 'mmagic.models.editors.stylegan2.stylegan2'
BASE_MODULE = 'mmagic.models.base_models.base_gan'
DISCRIMINATOR_MODULE = 'mmagic.models.editors.stylegan2.stylegan2_discriminator'
SCORES = 'disc_pred_real'


def is_count_needed() -> bool:
    """Tell whether ``ADAAug.update`` divides by a count of zero."""
    ada_aug: Any = host_module(DISCRIMINATOR_MODULE).ADAAug
    return not hasattr(ada_aug.update, '__wrapped__')


def require_counts() -> None:
    """Let ``ADAAug.update`` leave p as it is while nothing has been counted."""
    ada_aug: Any = host_module(DISCRIMINATOR_MODULE).ADAAug
    update = ada_aug.update

    @functools.wraps(update)
    def update_if_counted(self: Any, iteration: int = 0, num_batches: int = 0) -> None:
        is_due = (iteration + 1) % self.update_interval == 0
        if not is_due or self.log_buffer[0] > 0:
            update(self, iteration=iteration, num_batches=num_batches)

    ada_aug.update = update_if_counted


def is_search_needed() -> bool:
    """Tell whether ``StyleGAN2.train_step`` looks at the outermost module only."""
    gan: Any = host_module(GAN_MODULE).StyleGAN2
    return not hasattr(gan.train_step, '__wrapped__')


def search_wrapped() -> None:
    """Let ``StyleGAN2.train_step`` update p wherever the discriminator holds an ``ADAAug``."""
    _let_p_follow(host_module(GAN_MODULE).StyleGAN2, sees_bare=True)


def is_base_search_needed() -> bool:
    """Tell whether the training step of the other GANs looks for no ``ADAAug`` at all."""
    gan: Any = host_module(BASE_MODULE).BaseGAN
    return not hasattr(gan.train_step, '__wrapped__')


def search_in_base() -> None:
    """Let ``BaseGAN.train_step`` update p too; StyleGAN2 has a training step of its own."""
    _let_p_follow(host_module(BASE_MODULE).BaseGAN, sees_bare=False)


def _let_p_follow(gan: Any, sees_bare: bool) -> None:
    """Update p after a training step, unless the host's step does so for a bare discriminator.

    In all cases the scores leave the message hub, so that they are in no checkpoint.
    """
    train_step = gan.train_step

    @functools.wraps(train_step)
    def train_step_and_update(self: Any, data: dict, optim_wrapper: Any) -> dict[str, Any]:
        hub: Any = host_module(BASE_MODULE).MessageHub.get_current_instance()
        log_vars = train_step(self, data, optim_wrapper)
        if not (sees_bare and getattr(self.discriminator, 'with_ada', False)):
            for ada_aug in _find_augmentations(self.discriminator):
                _update(ada_aug, hub.get_info(SCORES), hub.get_info('iter'))
                log_vars['augment'] = ada_aug.aug_pipeline.p.data.cpu()
        hub.runtime_info.pop(SCORES, None)
        # a model that hands its scores over detached says so, and the hub forbids to say both
        hub._resumed_keys.pop(SCORES, None)
        return log_vars

    gan.train_step = train_step_and_update


def _find_augmentations(discriminator: Any) -> Iterator[Any]:
    ada_aug: Any = host_module(DISCRIMINATOR_MODULE).ADAAug
    return (module for module in discriminator.modules() if isinstance(module, ada_aug))


def _update(ada_aug: Any, scores: Any, iteration: int) -> None:
    """Count the signs of the real images' scores in all processes, and let p follow."""
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


REPAIRS = (
    Repair(
        name='ada-counts',
        module=DISCRIMINATOR_MODULE,
        summary='the augmentation probability of ADA is NaN when updated before any count',
        until='ADAAug.update checks its count',
        is_needed=is_count_needed,
        apply=require_counts,
    ),
    Repair(
        name='ada-search',
        module=GAN_MODULE,
        summary='the augmentation probability of ADA does not move in a distributed run',
        until='StyleGAN2.train_step finds ada_aug in a wrapped discriminator',
        is_needed=is_search_needed,
        apply=search_wrapped,
    ),
    Repair(
        name='ada-base',
        module=BASE_MODULE,
        summary='the augmentation probability of ADA moves in StyleGAN2 only',
        until='BaseGAN.train_step finds ada_aug in the discriminator',
        is_needed=is_base_search_needed,
        apply=search_in_base,
    ),
)
