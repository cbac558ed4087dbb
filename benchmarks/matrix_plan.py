"""How matrix.py gives every cell its config: training subset, bank of priors, overrides."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matrix_cells import USE_ENCODER, Cell, choose_subset, innermost, make_untrained, write_config
from matrix_held_out import load_with_held_out

TOOLS = Path(__file__).resolve().parent.parent


class Plan:
    """Settles the config of each cell, and builds the banks that they need.

    Args:
        config (str): The data set's DISP config.
        files (dict[str, Path]): Config by method.
        companions (dict): Overrides by companion.
        encoders (dict | None): Encoder by name; the first one's space is measured in.
        options (dict): Overrides of every config.
        work_dir (Path): Where manifests and banks go.
        start (Callable): Runs a command and writes what it prints to a file.
        held_out (str | None): Images to measure by, where the config names none. Defaults to None.
        spaces (list | None): Where to measure then, as for
            :func:`disp_plugin.evaluation.spaces`. Defaults to None.

    Attributes:
        base (Config): The data set's DISP config, resolved.
        spaces (dict): Where all cells are measured, whatever their own priors are.

    Raises:
        FileNotFoundError: The encoder of a space is not at hand.
        ValueError: The config names no held-out images.
    """

    def __init__(
        self,
        config: str,
        files: Mapping[str, Path],
        companions: Mapping[str, dict[str, Any]],
        encoders: Mapping[str, dict[str, Any]] | None,
        options: Mapping[str, Any],
        work_dir: Path,
        start: Callable[[list[str], Path], None],
        held_out: str | None = None,
        spaces: list | None = None,
    ) -> None:
        self.files, self.companions, self.encoders = files, companions, encoders
        self.options = dict(options)
        self.work_dir, self.start = work_dir, start
        first = {'encoder': next(iter(encoders.values()))} if encoders else {}
        self.held_out = held_out
        self.base = load_with_held_out(config, {**self.options, **first}, held_out, spaces)
        self.spaces = self._shared_spaces(config)
        self._banks: dict[str, Any] = {}
        self._keys = self._list_keys()

    def settle(self, cell: Cell) -> tuple[Any, str]:
        """Resolve the config of a cell; its bank is built where it is missing.

        Args:
            cell (Cell): The cell.

        Returns:
            tuple[Config, str]: The config, and what the table should say of it.

        Raises:
            ValueError: The overrides do not fit the config.
            RuntimeError: Its bank could not be built.
        """
        file, notes = self.files[cell.method], []
        own, skipped = self._own_options(file)
        if skipped:
            notes.append(f'without {", ".join(skipped)}, since it has no sampler')
        options = {**own, **self._subset(cell.num_images)}
        encoder = self._encoder(cell)
        if cell.method == 'per_image_scaled':
            notes.append(f'priors of length {encoder["scale"]:g}, as long as those of disp')
        if encoder is not None:
            options['encoder'] = encoder
        cfg = self._load(file, options)
        if cfg.get('encoder'):
            bank = self._bank(cfg, cell)
            # as it is reached from here, so that a folder that is moved with its data goes on
            options |= {'bank_file': os.path.relpath(bank.path), 'prior_dim': bank.prior_dim}
        if cell.method.startswith('per_image'):
            # any other normalization would divide the length out again
            options['model.prior_norm'] = 'none'
        options |= self.companions[cell.companion]
        cfg = self._load(file, options)
        if cell.method == 'disp_any_pair':
            notes.append(mix_any_pair(cfg))
        for part in ('val_evaluator', 'test_evaluator'):
            if not cfg.get(part):
                raise ValueError(f'{file} has no {part}, by which it is measured')
            cfg[part]['spaces'] = self.spaces
        if cfg.model.get('sampler'):
            notes.append(say_sampler(cfg.model.sampler))
        return cfg, '; '.join(notes)

    def _load(self, file: str | Path, options: Mapping[str, Any]) -> Any:
        return load_with_held_out(file, options, self.held_out, list(self.spaces.items()))

    def _own_options(self, file: Path) -> tuple[dict[str, Any], list[str]]:
        """Leave out the options of a sampler where a config has none; name them."""
        from disp_plugin.cli.config import load_config

        named = [name for name in self.options if f'{name}.'.startswith('model.sampler.')]
        if not named or load_config(file).model.get('sampler'):
            return self.options, []
        return {name: self.options[name] for name in self.options if name not in named}, named

    def _encoder(self, cell: Cell) -> dict[str, Any] | None:
        """State the encoder of a cell where it is not that of its config."""
        own = self.encoders[cell.encoder] if self.encoders and cell.encoder else self.base.encoder
        if cell.method == 'disp_untrained':
            return make_untrained(own)
        if cell.method in USE_ENCODER:
            return dict(own) if cell.encoder else None
        if cell.method in ('per_image', 'per_image_scaled'):
            scale = self._scale(cell.num_images) if cell.method.endswith('scaled') else 1.0
            num = cell.num_images or len(self._keys)
            return dict(type='PerImageEncoder', num_images=num, scale=scale)
        return None

    def _scale(self, num_images: int | None) -> float:
        """Compute the length of DISP's priors."""
        cell = Cell('disp', 'plain', num_images)
        options = {**self.options, **self._subset(num_images)}
        if self.encoders:
            options['encoder'] = self.base.encoder.to_dict()
        cfg = self._load(self.base.filename, options)
        return round(mean_length(self._bank(cfg, cell), cfg.model), 6)

    def _subset(self, num: int | None) -> dict[str, Any]:
        """Write the manifest of a training subset; return what makes a config use it."""
        if num is None:
            return {}
        from disp_plugin.files import write_file

        file = (self.work_dir / 'manifests' / f'train_{num}.txt').absolute()
        write_file(file, '\n'.join(choose_subset(self._keys, num)) + '\n')
        path, _ = innermost(self.base)
        options = {f'{path}.ann_file': str(file)}
        for part in ('val_evaluator', 'test_evaluator'):
            if (self.base.get(part) or {}).get('train_dataset'):
                options[f'{part}.train_dataset.ann_file'] = str(file)
        return options

    def _bank(self, cfg: Any, cell: Cell) -> Any:
        """Open the bank of a config's encoder and training set, built where it is missing."""
        from disp_plugin.priors import PriorBank, view_config

        encoder, dataset = cfg.encoder.to_dict(), view_config(cfg.train_dataloader.dataset)
        digest = hashlib.sha256(
            json.dumps([encoder, dataset], sort_keys=True, default=str).encode()
        )
        weights = Path(str(encoder.get('checkpoint')))
        if weights.is_file():  # the same path may hold another encoder tomorrow
            digest.update(weights.read_bytes())
        name = digest.hexdigest()[:12]
        if name not in self._banks:
            file = self.work_dir / 'banks' / f'{cell.name}-{name}.safetensors'
            found = sorted(file.parent.glob(f'*-{name}.safetensors'))
            file = found[0] if found else file
            if not found:
                self._build(cfg, file)
            self._banks[name] = PriorBank.open(file)
        return self._banks[name]

    def _build(self, cfg: Any, file: Path) -> None:
        from disp_plugin.files import write_file

        config = file.with_suffix('.py')
        write_file(config, write_config(cfg))
        command = [str(TOOLS / 'build_prior_bank.py'), str(config), '--bank-file', str(file)]
        self.start(command, file.with_suffix('.log'))

    def _list_keys(self) -> list[str]:
        """List the training images."""
        from mmagic.registry import DATASETS

        from disp_plugin.priors import view_config

        dataset = DATASETS.build(view_config(self.base.train_dataloader.dataset, pipeline=[]))
        return [dataset.get_data_info(row)['image_key'] for row in range(len(dataset))]

    def _shared_spaces(self, config: str) -> dict[str, dict[str, Any]]:
        """Choose spaces that all cells are measured in."""
        from disp_plugin.encoders import can_encode_new_images

        evaluator = self.base.get('test_evaluator')
        if not evaluator or not self.base.get('val_evaluator'):
            raise ValueError(
                f'{config} names no held-out images: a matrix needs val_evaluator, by which '
                'snapshots are chosen, and test_evaluator, on which they are reported (see '
                'configs/_base_/evaluation_digits.py); or give --held-out, a folder or a manifest'
            )
        spaces = {
            'encoder' if name == 'prior' else name: encoder.to_dict()
            # pixels first: no network has shaped them
            for name, encoder in sorted(evaluator['spaces'].items(), key=_is_prior)
            if can_encode_new_images(encoder)
        }
        for name, encoder in spaces.items():
            weights = encoder.get('checkpoint')
            if weights and '://' not in weights and not Path(weights).is_file():
                raise FileNotFoundError(
                    f'{weights}, the encoder of the space {name!r}, does not exist; make it by '
                    'tools/pretrain_encoder.py, or name another by --encoder NAME=FILE'
                )
        return spaces


def _is_prior(item: tuple[str, Any]) -> bool:
    return item[0] == 'prior'


def mix_any_pair(cfg: Any) -> str:
    """Change the sampler of DISP's config to one that mixes any two priors.

    Args:
        cfg (Config): Changed in place.

    Returns:
        str: What the table should say of it.

    Raises:
        ValueError: Its sampler does not mix near priors, so that there is nothing to change.
    """
    sampler = cfg.model.get('sampler') or {}
    if sampler.get('type') != 'VicinalMixSampler' or sampler.get('num_neighbors') is None:
        raise ValueError(
            'disp_any_pair has nothing to change: disp does not mix a prior with its neighbors '
            '(model.sampler.num_neighbors of VicinalMixSampler)'
        )
    sampler['num_neighbors'] = None
    return (
        'the snapshots of disp, not trained again, by another sampler; the best one is that which '
        'was chosen with the sampler of disp'
    )


def say_sampler(sampler: Mapping[str, Any]) -> str:
    """Say how new priors are made.

    Args:
        sampler (Mapping[str, Any]): Config of a sampler.

    Returns:
        str: Half a sentence.
    """
    if sampler['type'] != 'VicinalMixSampler':
        return f'new priors by {sampler["type"]}'
    num = sampler.get('num_neighbors')
    return f'new priors mix {"any two" if num is None else f"one with one of its {num} nearest"}'


def mean_length(bank: Any, model: Mapping[str, Any]) -> float:
    """Compute the mean length of priors as the networks see them: normalized.

    Args:
        bank (PriorBank): The bank.
        model (Mapping[str, Any]): Config of the model, which says how priors are normalized.

    Returns:
        float: Mean of their norms.
    """
    import numpy as np
    import torch

    from disp_plugin.models.prior_normalizer import PriorNormalizer

    normalizer = PriorNormalizer(
        bank.prior_dim, model.get('prior_norm', 'none'), length=model.get('prior_length')
    )
    priors = torch.as_tensor(bank.take(np.arange(len(bank))))
    normalizer.fit(priors)
    return float(normalizer(priors).norm(dim=1).mean())
