"""A plain folder of images as a data set, without a config."""

from typing import Any

__all__ = ['folder_view']


def folder_view(
    data_root: str, size: int | None = None, ann_file: str = '', flip: bool = False
) -> dict[str, Any]:
    """State a folder with the view that ``configs/disp_biggan_folder.py`` trains on.

    Args:
        data_root (str): The folder.
        size (int | None): Side that a central square is resized to. Defaults to None: images stay
            as they are.
        ann_file (str): Manifest of the images to use. Defaults to '', all of them.
        flip (bool): Whether images are mirrored at random. Defaults to False.

    Returns:
        dict[str, Any]: Config of a data set.
    """
    pipeline: list[dict[str, Any]] = [dict(type='LoadTrainingImage')]
    if size is not None:
        scale = (size, size)
        pipeline += [
            dict(type='CenterCropLongEdge', keys='gt'),
            dict(type='Resize', keys='gt', scale=scale, interpolation='bicubic', backend='pillow'),
        ]
    if flip:
        pipeline.append(dict(type='Flip', keys='gt', flip_ratio=0.5, direction='horizontal'))
    return dict(
        type='ImageFolderDataset', data_root=data_root, ann_file=ann_file, pipeline=pipeline
    )
