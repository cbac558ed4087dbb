"""Which steps of a pipeline draw at random: by what they are, and by what they do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from disp_plugin.datasets.seeded_draws import keep_randomness, seed_randomness

# Transforms of mmagic and mmcv that draw at random; beside these, all whose name says 'Random'.
RANDOM_STEPS = frozenset(
    {
        "AlbuCorruptFunction", "Albumentations", "BinarizeImage", "ColorJitter",
        "CropAroundCenter", "CropAroundFg", "CropAroundUnknown", "DegradationsWithShuffle",
        "GenerateTrimap", "MirrorSequence", "PairedAlbuTransForms", "PerturbBg",
        "PhotoMetricDistortion", "TemporalReverse", "UnsharpMasking",
    }
)  # fmt: skip


def find_random_step(
    steps: list[Any],
    load_info: Callable[[], dict[str, Any]],
    image_name: str,
    num_runs: int = 8,
) -> str:
    """Find the first step of a pipeline whose result depends on chance.

    Known random transforms are found by name. Any other is found by running the pipeline on one
    image with several seeds; the global generators are restored afterwards.

    Args:
        steps (list): Transforms, without the flips that the caller handles.
        load_info (Callable[[], dict]): Gives a fresh ``results`` dict of one image.
        image_name (str): Name of the image in ``results``.
        num_runs (int): How many seeds to try. Defaults to 8.

    Returns:
        str: The step and how it was found, or '' where none is random.
    """
    for step in steps:
        if is_known_random(step):
            return _name(step)
    try:
        traces = [_trace(steps, load_info(), image_name, seed) for seed in range(num_runs)]
    # A file that cannot be read is reported together with all others, not from here.
    except Exception:
        return ''
    for number, step in enumerate(steps):
        if len({trace[number] for trace in traces}) > 1:
            return f'{_name(step)} gave different images of one file in {num_runs} runs'
    return ''


def is_known_random(step: Any) -> bool:
    """Tell whether a transform is known to draw at random.

    Args:
        step (BaseTransform): Transform of a pipeline.

    Returns:
        bool: True for a known one whose options do not switch the chance off.
    """
    names = [cls.__name__ for cls in type(step).__mro__]
    if 'Crop' in names:
        return bool(getattr(step, 'random_crop', False))
    if 'FixedCrop' in names:
        return getattr(step, 'crop_pos', None) is None
    return any('Random' in name or name in RANDOM_STEPS for name in names)


def _trace(
    steps: list[Any], results: dict[str, Any], image_name: str, seed: int
) -> list[tuple[Any, str]]:
    """Hash the image after every step."""
    trace = []
    with keep_randomness():
        seed_randomness(seed)
        for step in steps:
            results = step(results)
            image = np.asarray(results.get(image_name))
            content = np.ascontiguousarray(image).tobytes()
            trace.append((image.shape, hashlib.sha256(content).hexdigest()))
    return trace


def _name(step: Any) -> str:
    text = repr(step)
    return text if len(text) < 200 and ' object at ' not in text else type(step).__name__
