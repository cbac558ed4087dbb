"""Building and running a GAN's training: optimizers, labels, the loss scaler, logs, the evaluator.

Upstream: https://github.com/open-mmlab/mmagic (1.2.0), https://github.com/open-mmlab/mmengine
(0.10.7).
"""

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from disp_plugin.upstream.patch import patch, rebind

if TYPE_CHECKING:
    import numpy as np
    from mmengine.logging import MessageHub
    from mmengine.registry import Registry
    from torch import Tensor

CONDITIONAL_GAN = 'mmagic.models.base_models.base_conditional_gan'

MOST_UNREAD = 1000
"""Logged tensors of one name that are kept on their device where nobody reads them."""


@patch('integer-betas', 'mmengine.optim.optimizer.builder')
def write_betas_as_floats(host: ModuleType) -> None:
    """Write integer betas as floats where mmengine builds an optimizer from its config.

    Symptom: 26 of mmagic's configs do not train, "betas must be either both floats or both
    Tensors".
    Cause: torch/optim/adam.py checks the type; the configs write ``betas=(0, 0.99)``, for example
    configs/biggan and configs/stylegan2.
    Delete when: mmagic's configs write 0.0.
    """
    _convert_betas(host.OPTIMIZERS)


def _convert_betas(registry: 'Registry') -> None:
    build: Callable[..., object] = registry.build_func

    def build_optimizer(cfg: object, *args: object, **kwargs: object) -> object:
        if isinstance(cfg, dict) and isinstance(betas := cfg.get('betas'), tuple | list):
            cfg = cfg.copy()
            cfg['betas'] = tuple(float(beta) if type(beta) is int else beta for beta in betas)
        return build(cfg, *args, **kwargs)

    registry.build_func = build_optimizer
    # registries that inherit the function took a copy of it when they were made
    for child in registry.children.values():
        if child.build_func is build:
            _convert_betas(child)


@patch('integer-labels', CONDITIONAL_GAN)
def flatten_labels(host: ModuleType) -> None:
    """Flatten integer labels (N, 1) where a conditional GAN takes them from its data samples.

    Symptom: none is printed. The stock class-conditional BigGAN, SAGAN and SNGAN train on real
    images whose pairing with their labels is destroyed: the real branch of the discriminator
    returns every image's features projected on every label, in a broadcast shape such as
    (16, 16, 64), the fake branch (16, 1).
    Cause: mmagic/structures/data_sample.py:39 makes a tensor of shape (1,) of an integer label,
    :306 stacks them to (N, 1), and base_conditional_gan.py:88 passes that on, where the
    discriminator's embedding expects (N,).
    Delete when: ``BaseConditionalGAN.data_sample_to_label`` returns integer labels as (N,).
    """
    read: Callable[..., Tensor | None] = host.BaseConditionalGAN.data_sample_to_label

    def data_sample_to_label(self: object, data_sample: object) -> 'Tensor | None':
        """Get the labels of a batch: integers as (N,), vectors as (N, D), or None."""
        label = read(self, data_sample)
        if label is None or label.is_floating_point() or label.is_complex():
            return label
        return label.flatten() if label.ndim == 2 and label.shape[1] == 1 else label

    host.BaseConditionalGAN.data_sample_to_label = data_sample_to_label


@patch('loss-scaler', CONDITIONAL_GAN)
def read_loss_scaler(host: ModuleType) -> None:
    """Read the loss scaler where mmagic overwrites it: let ``setattr`` mean ``getattr`` there.

    Symptom: with AMP the conditional GANs die in the discriminator's step with "'NoneType' object
    has no attribute 'scale'": the optimizer's loss scaler has been overwritten by None.
    Cause: base_conditional_gan.py:313 reads it by ``setattr(optimizer_wrapper, 'loss_scaler',
    None)``.
    Delete when: that line, the only one of its module with ``setattr``, reads ``getattr``.
    """
    vars(host)['setattr'] = getattr


def _make_tensor_history(base: Any) -> Any:
    """Make mmengine's history keep tensors until somebody reads it."""
    import numpy as np

    class TensorHistory(base):
        """A history whose newest values may lie on a device; saved as a plain one."""

        def __init__(self, *args: object) -> None:
            self._unread: list[tuple[Tensor, int]] = []
            self._histories: list[np.ndarray] = [np.empty(0)] * 2
            super().__init__(*args)

        def append(self, value: 'Tensor', count: int) -> None:
            # a copy, since what was logged may change in place
            value = value.detach().reshape(()).clone()
            newest = self._unread[-1][0] if self._unread else value
            is_other = (value.dtype, value.device) != (newest.dtype, newest.device)
            if is_other or len(self._unread) == MOST_UNREAD:
                self._read()
            self._unread.append((value, count))

        def _read(self) -> None:
            import torch

            if not self._unread:
                return
            values, counts = zip(*self._unread, strict=True)
            self._unread = []
            news = torch.stack(values).tolist(), counts
            self._histories = [
                np.append(old, new)[-self.max_length :] if len(old) else np.array(new)
                for old, new in zip(self._histories, news, strict=True)
            ]

        @property
        def _log_history(self) -> 'np.ndarray':
            self._read()
            return self._histories[0]

        @_log_history.setter
        def _log_history(self, values: 'np.ndarray') -> None:
            self._histories[0] = values

        @property
        def _count_history(self) -> 'np.ndarray':
            self._read()
            return self._histories[1]

        @_count_history.setter
        def _count_history(self, counts: 'np.ndarray') -> None:
            self._histories[1] = counts

        def __reduce__(self) -> tuple[object, ...]:
            return base, (*self.data, self.max_length)

    return TensorHistory


@patch('logged-tensors', 'mmengine.logging.message_hub')
def read_logs_late(host: ModuleType) -> None:
    """Read logged tensors where their history is read, not in every iteration.

    Symptom: the host waits for a GPU in each iteration, once for each loss.
    Cause: mmengine/logging/message_hub.py:346 reads each value by ``item()``.
    Delete when: ``MessageHub.update_scalar`` keeps tensors.
    """
    update: Callable[..., None] = host.MessageHub.update_scalar

    history_of_tensors = _make_tensor_history(host.HistoryBuffer)

    def update_scalar(
        self: 'MessageHub', key: str, value: Any, count: int = 1, resumed: bool = True
    ) -> None:
        """Add a value to a history; a tensor is read when the history is."""
        if not hasattr(value, 'detach'):
            update(self, key, value, count, resumed)
            return
        self._set_resumed_keys(key, resumed)
        history = self._log_scalars.get(key)
        if not isinstance(history, history_of_tensors):
            past = (*history.data, history.max_length) if history else ()
            history = self._log_scalars[key] = history_of_tensors(*past)
        history.append(value, count)

    host.MessageHub.update_scalar = update_scalar


@patch('evaluator-warning', 'mmagic.engine.runner.loop_utils')
def accept_children_of_evaluator(host: ModuleType) -> None:
    """Let children of mmagic's Evaluator pass without a warning.

    Symptom: a run with a subclass of mmagic's Evaluator is told "we strongly recommend you to use
    'Evaluator' provided by MMagic. Otherwise, there maybe some potential bugs".
    Cause: loop_utils.py:26 and :42 compare names of classes.
    Delete when: loop_utils.py asks whether the class is a child of mmagic's Evaluator.
    """
    check: Callable[[object], object] = host.update_and_check_evaluator

    def update_and_check_evaluator(evaluator: object) -> object:
        """Warn of evaluators that are no children of mmagic's."""
        return evaluator if _is_child(evaluator) else check(evaluator)

    rebind(check, update_and_check_evaluator)


def _is_child(evaluator: object) -> bool:
    from mmagic.evaluation.evaluator import Evaluator
    from mmagic.registry import EVALUATORS

    if not isinstance(evaluator, dict):
        return isinstance(evaluator, Evaluator)
    kind = evaluator.get('type')
    kind = EVALUATORS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, Evaluator) and 'metrics' in evaluator
