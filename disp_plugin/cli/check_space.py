"""Whether the checkpoints of a run have room where they are going to be written."""

import math
from typing import Any

from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from torch import nn

from disp_plugin.files import describe_bytes, get_free_bytes

__all__ = ['check_space', 'estimate_checkpoint_bytes']


def estimate_checkpoint_bytes(model: nn.Module) -> int:
    """Estimate the size of a checkpoint: the model, and two moments of Adam for what is trained.

    Args:
        model (nn.Module): The model of a runner.

    Returns:
        int: Bytes.
    """
    state = sum(v.numel() * v.element_size() for v in model.state_dict().values())
    trained = (p for p in model.parameters() if p.requires_grad)
    return state + sum(2 * p.numel() * p.element_size() for p in trained)


def check_space(runner: Any) -> None:
    """Make sure that the work folder can take a checkpoint before an older one is removed.

    Args:
        runner (Runner): A runner that has not trained yet.

    Raises:
        ValueError: There is no room for two checkpoints. For two, but not for all that the run
            keeps, a warning is logged.
    """
    saving = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
    if saving is None or saving.interval <= 0:
        return
    folder = runner.work_dir
    each = estimate_checkpoint_bytes(runner.model)
    free = get_free_bytes(folder)
    text = (
        f'a checkpoint of this run takes about {describe_bytes(each)}, and {{}}, but the work '
        f'folder {folder} has {describe_bytes(free)} of free space; free some, or choose another '
        'by --work-dir'
    )
    if free < 2 * each:
        raise ValueError(text.format('a new one is written before an old one is removed'))
    planned = math.ceil(runner.max_iters / saving.interval)
    kept = planned if saving.max_keep_ckpts < 0 else min(planned, saving.max_keep_ckpts)
    if free < (kept + 1) * each:
        print_log(text.format(f'{kept} are kept'), logger='current', level=30)
