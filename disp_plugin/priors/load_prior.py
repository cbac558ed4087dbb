"""The pipeline step that puts an image's prior beside the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmagic.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from .prior_bank import PriorBank


@TRANSFORMS.register_module()
class LoadPrior(BaseTransform):
    """Add the data instance prior C(x) of an image, out of a bank, by the image's key.

    Where a horizontal ``Flip`` before this step did flip the image, its prior is that of the
    flipped view. ``PackInputs(keys=['gt'], data_keys=['gt_prior'])`` then carries it into
    ``data_samples.gt_prior``.

    Required Keys:

    - image_key
    - flip_infos (optional, as ``Flip`` records them)

    Added Keys:

    - gt_prior: torch.Tensor (D,) float32

    Args:
        bank_file (str | Path): File of the bank. It is opened, memory-mapped, at the first image,
            in each process by itself.
        key (str): Name of the image that the prior belongs to. Defaults to 'gt'.

    Raises:
        FileNotFoundError: At the first image, where there is no such file.
        ValueError: At an image that the bank lacks or holds no flipped view of.
    """

    def __init__(self, bank_file: str | Path, key: str = 'gt') -> None:
        self.bank_file = str(bank_file)
        self.key = key
        self._bank: PriorBank | None = None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``gt_prior``.

        Args:
            results (dict): With ``image_key``, and ``flip_infos`` where Flip ran.

        Returns:
            dict: The same with ``gt_prior``.
        """
        if self._bank is None:
            self._bank = PriorBank.open(self.bank_file)
        if 'image_key' not in results:
            raise ValueError(
                "LoadPrior finds a prior by results['image_key'], which is not there; use "
                'ImageFolderDataset, or let your data set give one'
            )
        flipped = self._is_flipped(results.get('flip_infos', ()))
        results['gt_prior'] = self._bank.lookup([results['image_key']], flipped)[0]
        return results

    def _is_flipped(self, flip_infos: Any) -> bool:
        flipped = False
        for info in flip_infos:
            if info['flip'] and self.key in info['keys']:
                if info['direction'] != 'horizontal':
                    raise ValueError(
                        f'image was flipped with direction={info["direction"]!r}, but a bank has '
                        "views for horizontal flips only; set Flip's direction='horizontal'"
                    )
                flipped = not flipped
        return flipped

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_bank': None}

    def __repr__(self) -> str:
        return f'{type(self).__name__}(bank_file={self.bank_file!r}, key={self.key!r})'
