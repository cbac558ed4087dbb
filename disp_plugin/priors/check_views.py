"""Every image is decoded and put through the pipeline once, before any work can be lost."""

from __future__ import annotations

from collections import Counter

from torch.utils.data import Dataset

from disp_plugin.datasets import BadImage, BadImageError, describe_bad_images
from disp_plugin.progress import track

from .load_views import make_loader
from .training_view import TrainingView


class _Probe(Dataset):
    """Says of each image the shape of its views, or what is wrong with it."""

    def __init__(self, view: TrainingView) -> None:
        self.view = view

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, row: int) -> tuple[tuple[int, ...], str]:
        try:
            return self.view[row].shape, ''
        except BadImageError as error:
            return (), _first_sentence(error.reason or 'it cannot be decoded')
        # A third-party step may raise anything on an odd image; it belongs into the report.
        except Exception as error:
            return (), f'{type(error).__name__}: {error}'


def check_views(view: TrainingView, num_workers: int, progress: bool = True) -> None:
    """Make sure that the pipeline gives every image in one size.

    Args:
        view (TrainingView): The images.
        num_workers (int): Processes that decode; 0: this one.
        progress (bool): Whether to draw a progress bar on a terminal. Defaults to True.

    Raises:
        ValueError: With every bad image and what is wrong with it.
    """
    loader = make_loader(_Probe(view), num_workers, batch_size=16, collate_fn=list)
    results = [
        result
        for batch in track(loader, len(loader), 'checking images', progress, unit=16)
        for result in batch
    ]
    shapes = Counter(shape for shape, reason in results if not reason)
    usual = shapes.most_common(1)[0][0] if shapes else ()
    bad = [
        BadImage(path, reason or _explain_shape(shape, usual))
        for path, (shape, reason) in zip(view.paths, results, strict=True)
        if reason or shape != usual
    ]
    if bad:
        raise ValueError(describe_bad_images(bad, len(view)))


def _explain_shape(shape: tuple[int, ...], usual: tuple[int, ...]) -> str:
    return (
        f'it is {shape[2]}x{shape[1]} (width x height) behind the pipeline where most images are '
        f'{usual[2]}x{usual[1]}; add a crop or Resize with a fixed scale before LoadPrior'
    )


def _first_sentence(reason: str) -> str:
    return reason.split('. ')[0]
