"""The config of each cell: method, technique, training subset, bank of priors, held-out images."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from mmagic.registry import MODELS
from mmengine.config import Config

from disp_plugin.cli.check_config import check_config
from disp_plugin.cli.choose_schedule import choose_options
from disp_plugin.cli.config import build_training_set, load_config, merge_options, merge_part
from disp_plugin.cli.options import accepted_fields, check_options, find_class
from disp_plugin.cli.prepare_run import ensure_bank
from disp_plugin.evaluation.held_out import (
    add_validation,
    check_not_chosen_by,
    find_held_out,
    find_training_images,
    name_best,
)
from disp_plugin.evaluation.spaces import RUN_ENCODER
from disp_plugin.files import write_file
from disp_plugin.models.prior_normalizer import PriorNormalizer
from disp_plugin.priors import PriorBank
from disp_plugin.settings import find_places, get_value

from .cells import BASELINES, DISP_METHODS, Cell, Overrides, choose_subset, flatten, rank_keys
from .runs import Run

AFTERWARDS = (
    *(f'{part}_{field}' for part in ('val', 'test') for field in ('evaluator', 'dataloader')),
    *('train_cfg.val_', 'default_hooks.checkpoint.save_best', 'default_hooks.checkpoint.rule'),
)
"""Beginnings of the options that change what the held-out images bring with them."""

HELD_OUT_FRACTION = 0.2
LEAST_TO_SPLIT = 10


class Plan:
    """Settles the config of each cell, and builds the banks that the cells need.

    Args:
        config (str): The data set's DISP config.
        techniques (Mapping): Of :func:`read_techniques`.
        encoders (Mapping): Of :func:`read_encoders`; all cells are measured in the space of the
            first.
        options (Mapping[str, object]): ``--cfg-options`` of every config.
        work_dir (Path): Where manifests and banks go.
        held_out (str | None): Images to measure by, where the config names none. Defaults to None:
            a fifth of the training images, which no run then trains on.
        spaces (Mapping[str, object] | None): Where to measure then, as for :func:`choose_spaces`.
            Defaults to None.
        auto (bool): Choose sizes and iterations by the images. Defaults to False.

    Raises:
        FileNotFoundError: The encoder of a space is not at hand.
        ValueError: There are both held-out images of the config and ``held_out``.
    """

    def __init__(
        self,
        config: str,
        techniques: Mapping[str, list[str] | Overrides],
        encoders: Mapping[str, Overrides],
        options: Mapping[str, object],
        work_dir: Path,
        held_out: str | None = None,
        spaces: Mapping[str, object] | None = None,
        auto: bool = False,
    ) -> None:
        self.config, self.techniques, self.encoders = config, techniques, encoders
        self.options, self.work_dir = dict(options), work_dir
        first = {'encoder': next(iter(encoders.values()))} if encoders else {}
        cfg = load_config(config, {**self._early(), **first})
        if auto:
            self.options |= choose_options(cfg, set(options))
            merge_options(cfg, self._early())
        measures_itself = cfg.get('val_evaluator') and cfg.get('test_evaluator')
        if measures_itself and held_out is not None:
            raise ValueError(f'{config} names held-out images of its own; leave --held-out out')
        if not measures_itself and held_out is None:
            held_out = self._split_off(cfg)
            cfg = load_config(config, {**self._early(), **first})
        self.held_out = held_out
        self.base = self._measure(cfg, spaces)
        self.spaces = self._shared_spaces()
        self._keys: list[str] = build_training_set(self.base).image_keys
        self._banks: dict[str, PriorBank] = {}

    def settings(self) -> dict[str, object]:
        """State what all runs have in common, as JSON gives it back."""
        others = {name: value for name, value in self.options.items() if name != 'max_iters'}
        settings = {
            'config': Path(self.config).name,
            'training_set': find_training_images(self.base),
            'validation_set': self.base.val_dataloader.dataset,
            'test_set': self.base.test_dataloader.dataset,
            'max_iters': self.base.train_cfg.max_iters,
            'spaces': self.spaces,
            **({'cfg_options': others} if others else {}),
        }
        return json.loads(json.dumps(settings, default=str))

    def settle(self, cell: Cell) -> tuple[Config, str]:
        """Resolve the config of a cell; build its bank where it is missing.

        Returns:
            tuple[Config, str]: The config, and what the table should say of it.

        Raises:
            ValueError: The technique or the options do not fit the config.
        """
        notes = []
        cfg = self._load(cell)
        technique = self.techniques[cell.technique]
        if isinstance(technique, list):
            for part in technique:
                merge_part(cfg, 'techniques', part)
        else:
            _merge_checked(cfg, flatten(technique))
        if cell.method in BASELINES:
            notes += self._make_baseline(cfg, cell.method)
        elif cfg.get('encoder') and cfg.model.get('prior_dim'):
            if cell.method == 'disp_untrained':
                cfg.encoder = make_untrained(cfg.encoder)
            if file_of_method := DISP_METHODS.get(cell.method):
                merge_part(cfg, 'methods', file_of_method)
            file, bank = self._bank(cfg)
            bank_file = self._from_images(file, cfg)
            merge_options(cfg, {'bank_file': bank_file, 'prior_dim': bank.prior_dim})
        if cell.method == 'disp_any_pair':
            notes.append(mix_any_pair(cfg))
        for part in ('val_evaluator', 'test_evaluator'):
            cfg[part]['spaces'] = self.spaces
        if cfg.model.get('sampler'):
            notes.append(say_sampler(cfg.model.sampler))
        check_config(cfg)
        return cfg, '; '.join(notes)

    def _make_baseline(self, cfg: Config, method: str) -> list[str]:
        """Replace DISP's priors by those of a baseline; return what the table should say."""
        scale = 1.0
        if method == 'per_image_scaled':
            scale = round(mean_length(self._bank(cfg)[1], cfg.model), 6)
        merge_part(cfg, 'methods', BASELINES[method])
        if cfg.get('encoder'):  # its priors are clustered
            merge_options(cfg, {'bank_file': self._from_images(self._bank(cfg)[0], cfg)})
        if cfg.model.get('per_image') and cfg.model.get('prior_dim') is None:
            num_images = len(build_training_set(cfg).image_keys)
            cfg.model.update(per_image_scale=scale, prior_dim=num_images)
        if method == 'per_image_scaled':
            return [f'priors of length {scale:g}, as long as those of disp']
        return []

    def make_run(self, cell: Cell, cfg: Config, seed: int) -> Run:
        """Settle the run of a cell's config by a seed."""
        cfg.merge_from_dict({'randomness.seed': seed})
        folder = self.work_dir / cell.name / f'seed{seed}'
        trained: Path | None = None
        sampler: tuple[str, ...] = ()
        if cell.method == 'disp_any_pair':
            disp = Cell('disp', cell.technique, cell.num_images, cell.encoder)
            trained = self.work_dir / disp.name / folder.name
            sampler = tuple(f'{name}={value}' for name, value in cfg.model.sampler.items())
        text = write_config(cfg)
        return Run(cell.name, seed, folder, text, cfg.train_cfg.max_iters, trained, sampler)

    def _early(self) -> dict[str, object]:
        return {k: v for k, v in self.options.items() if not k.startswith(AFTERWARDS)}

    def _load(self, cell: Cell) -> Config:
        """Load the config of a cell with options, subset and encoder, measured as all are."""
        options = self._early()
        is_ours = cell.method in (*BASELINES, *DISP_METHODS)
        if cell.num_images is not None:
            chosen = choose_subset(self._keys, cell.num_images)
            manifest = self._write_manifest(f'train_{cell.num_images}', chosen)
            options['ann_file'] = self._from_images(manifest, self.base)
        if is_ours and self.encoders:
            options['encoder'] = self.encoders[cell.encoder or next(iter(self.encoders))]
        file = self.config if is_ours else cell.method
        return self._measure(load_config(file, options), self.spaces)

    def _measure(self, cfg: Config, spaces: Mapping[str, object] | None) -> Config:
        """Add held-out images to a config that names none, then the options that change them."""
        is_added, has_own_test = not cfg.get('val_evaluator'), bool(cfg.get('test_evaluator'))
        if self.held_out is None and (is_added or not has_own_test):
            raise ValueError(f'{cfg.filename} names no held-out images (val_ and test_evaluator)')
        if is_added:
            add_validation(cfg, str(self.held_out), spaces)
        if not has_own_test:
            dataset, split = find_held_out(cfg, self.held_out)
            cfg.test_dataloader = {**cfg.val_dataloader.to_dict(), 'dataset': dataset}
            cfg.test_cfg = dict(type='MultiTestLoop')
            cfg.test_evaluator = {**cfg.val_evaluator.to_dict(), 'split': split}
        later = {k: v for k, v in self.options.items() if k.startswith(AFTERWARDS)}
        merge_options(cfg, later)
        if is_added and 'default_hooks.checkpoint.save_best' not in later:
            # images that report must not choose, too
            cfg.default_hooks.checkpoint.save_best = name_best(cfg) if has_own_test else None
        if cfg.default_hooks.checkpoint.get('save_best'):
            split = cfg.test_evaluator.get('split', 'of test_dataloader')
            check_not_chosen_by(cfg, cfg.test_dataloader, split, 'the best snapshot')
        return cfg

    def _split_off(self, cfg: Config) -> str:
        """Hold out a part of the training images; all configs then train on the others."""
        keys = build_training_set(cfg).image_keys
        if len(keys) < LEAST_TO_SPLIT:
            raise ValueError(
                f'{len(keys)} images are too few to hold some of them out: give unseen ones by '
                '--held-out, a folder or a manifest'
            )
        ranked, num = rank_keys(keys), max(2, round(HELD_OUT_FRACTION * len(keys)))
        held_out = self._write_manifest('held_out', sorted(ranked[:num]))
        train = self._write_manifest('train', sorted(ranked[num:]))
        self.options['ann_file'] = self._from_images(train, cfg)
        print(
            f'no unseen images are named (--held-out): {num} of the {len(keys)} are held out '
            f'({held_out}), and all runs train on the others'
        )
        return str(held_out.absolute())

    def _write_manifest(self, name: str, keys: list[str]) -> Path:
        if odd := [key for key in keys if re.search(r'[\r\n]', key)]:
            raise ValueError(
                f'the name of the image {odd[0]!r} holds a line break, so that no manifest can '
                'name it; rename it'
            )
        file = self.work_dir / 'manifests' / f'{name}.txt'
        write_file(file, '\n'.join(keys) + '\n')
        return file

    def _from_images(self, file: Path, cfg: Config) -> str:
        """Write a path as seen from the images: a folder that is moved with them goes on."""
        return os.path.relpath(file, get_value(cfg, find_places(cfg, 'data_root')[0]))

    def _bank(self, cfg: Config) -> tuple[Path, PriorBank]:
        """Open the bank of a config's encoder and training set, built where it is missing."""
        encoder, dataset = cfg.encoder.to_dict(), find_training_images(cfg)
        told = json.dumps([encoder, dataset], sort_keys=True, default=str)
        digest = hashlib.sha256(told.encode())
        weights = Path(str(encoder.get('checkpoint')))
        if weights.is_file():  # the same path may hold another encoder tomorrow
            digest.update(weights.read_bytes())
        name = digest.hexdigest()[:12]
        file = self.work_dir / 'banks' / f'{name}.safetensors'
        if name not in self._banks:
            with_bank = Config(copy.deepcopy(cfg.to_dict()))
            # of which the priors' length is taken
            options = {'bank_file': self._from_images(file, cfg), 'prior_dim': None}
            merge_options(with_bank, options)
            ensure_bank(with_bank)
            self._banks[name] = PriorBank.open(file)
        return file, self._banks[name]

    def _shared_spaces(self) -> dict[str, Mapping[str, object]]:
        """Choose spaces that all cells are measured in, whatever their own priors are."""
        spaces: dict[str, Mapping[str, object]] = {}
        # pixels first: no network has shaped them
        given = self.base.test_evaluator['spaces'].items()
        for name, encoder in sorted(given, key=lambda item: item[0] == 'prior'):
            encoder = self.base.encoder if encoder == RUN_ENCODER else encoder
            if not encoder:
                continue
            MODELS.build(encoder.to_dict())  # missing weights are told before anything is trained
            spaces['encoder' if name == 'prior' else name] = encoder.to_dict()
        return spaces


def _merge_checked(cfg: Config, changes: Mapping[str, object]) -> None:
    check_options(cfg._cfg_dict, changes, file=Path(cfg.filename).name)
    cfg.merge_from_dict(changes)


def write_config(cfg: Config) -> str:
    """Write a resolved config as a file that inherits nothing; equal configs have equal texts."""
    return ''.join(f'{name} = {value!r}\n' for name, value in sorted(cfg.to_dict().items()))


def make_untrained(encoder: Mapping[str, object]) -> dict[str, object]:
    """State the encoder with random weights, the same in every run.

    Raises:
        ValueError: Its class has no ``untrained``.
    """
    if 'untrained' not in (accepted_fields(find_class(encoder['type'])) or ()):
        raise ValueError(f'disp_untrained: {encoder["type"]} cannot be left untrained')
    return {**encoder, 'untrained': True, 'seed': 0}


def mix_any_pair(cfg: Config) -> str:
    """Change the sampler of DISP's config to one that mixes any two priors.

    Args:
        cfg (Config): Changed in place.

    Returns:
        str: What the table should say of it.

    Raises:
        ValueError: Its sampler does not mix near priors: there is nothing to change.
    """
    sampler = cfg.model.get('sampler') or {}
    if sampler.get('type') != 'VicinalMixSampler' or sampler.get('num_neighbors') is None:
        raise ValueError(
            'disp_any_pair has nothing to change: disp does not mix a prior with its neighbors '
            '(model.sampler.num_neighbors of VicinalMixSampler)'
        )
    sampler['num_neighbors'] = None
    return (
        'the snapshots of disp, not trained again, with another sampler; the best one was chosen '
        'with the sampler of disp'
    )


def say_sampler(sampler: Mapping[str, object]) -> str:
    """Say how new priors are made."""
    if sampler['type'] != 'VicinalMixSampler':
        return f'new priors by {sampler["type"]}'
    num = sampler.get('num_neighbors')
    return f'new priors mix {"any two" if num is None else f"one with one of its {num} nearest"}'


def mean_length(bank: PriorBank, model: Mapping) -> float:
    """Compute the mean length of priors as the networks see them: normalized."""
    normalizer = PriorNormalizer(
        bank.prior_dim, model.get('prior_norm', 'none'), length=model.get('prior_length')
    )
    priors = torch.as_tensor(bank.take(np.arange(len(bank))))
    normalizer.fit(priors)
    return float(normalizer(priors).norm(dim=1).mean())
