"""ADA: second derivatives through its geometry, and its probability, which does not move.

Upstream: https://github.com/open-mmlab/mmagic (1.2.0).
"""

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from disp_plugin.upstream.patch import patch, rebind

if TYPE_CHECKING:
    from torch import Tensor

SCORES = 'disc_pred_real'


@patch('ada-grid-sample', 'mmagic.models.editors.stylegan2.ada.grid_sample_gradfix')
def replace_grid_sample(host: ModuleType) -> None:
    """Make ADA's sampling of images twice differentiable.

    Symptom: R1 through any geometric augmentation of ADA dies with "derivative for
    aten::grid_sampler_2d_backward is not implemented"; each augmentation warns besides.
    Cause: grid_sample_gradfix.py:44-54 takes its own differentiable version on torch 1.5 to 1.10
    only, for an operator whose arguments have changed since.
    Delete when: ``torch.nn.functional.grid_sample`` is twice differentiable.
    """
    operators = importlib.import_module('disp_plugin.upstream.operators')
    rebind(host.grid_sample, operators.grid_sample)


@patch('ada-search', 'mmagic.models.editors.stylegan2.stylegan2')
def find_wrapped_discriminators(host: ModuleType) -> None:
    """Update the augmentation probability where a wrapper holds the discriminator.

    Symptom: p keeps its initial value and 'augment' is missing in the log in a distributed run, or
    where another module holds the discriminator. Checkpoints hold the scores of the last batch,
    with a warning.
    Cause: stylegan2.py:309 asks the wrapper for ``with_ada``, and :198 leaves the scores and their
    graph in the message hub.
    Delete when: mmagic finds ``ada_aug`` in a wrapper and sums its counts over processes.
    """
    _update_after_step(host.StyleGAN2, sees_bare=True)


@patch('ada-base', 'mmagic.models.base_models.base_gan')
def update_in_any_gan(host: ModuleType) -> None:
    """Update the augmentation probability in GANs other than StyleGAN2.

    Symptom: p keeps its initial value in any GAN but StyleGAN2.
    Cause: base_gan.py:444 never looks for ``ada_aug``.
    Delete when: it does.
    """
    _update_after_step(host.BaseGAN, sees_bare=False)


def _update_after_step(gan_type: Any, sees_bare: bool) -> None:
    """Update p after a training step, unless the host's step does so for a bare discriminator.

    Either way, remove the scores from the message hub, so that no checkpoint holds them.
    """
    train_step: Callable[..., dict[str, object]] = gan_type.train_step

    @functools.wraps(train_step)
    def train_step_and_update(self: Any, data: dict, optim_wrapper: object) -> dict[str, object]:
        from mmagic.models.editors.stylegan2.stylegan2_discriminator import ADAAug
        from mmengine.logging import MessageHub

        hub = MessageHub.get_current_instance()
        log_vars = train_step(self, data, optim_wrapper)
        if not (sees_bare and getattr(self.discriminator, 'with_ada', False)):
            for module in self.discriminator.modules():
                if isinstance(module, ADAAug):
                    _update(module, hub.get_info(SCORES), hub.get_info('iter'))
                    log_vars['augment'] = module.aug_pipeline.p.detach().clone()
        hub.runtime_info.pop(SCORES, None)
        # a model that gives its scores detached says so, and the hub forbids to say both
        hub._resumed_keys.pop(SCORES, None)
        return log_vars

    gan_type.train_step = train_step_and_update


def _update(ada_aug: Any, scores: 'Tensor | None', iteration: int) -> None:
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
    if (iteration + 1) % ada_aug.update_interval == 0:  # reading the counts waits for a GPU
        ada_aug.update(iteration=iteration, num_batches=int(counts[0]))
