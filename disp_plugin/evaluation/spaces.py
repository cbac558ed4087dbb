"""The spaces that images are compared in: encoders with names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from mmagic.registry import MODELS
from torch import Tensor

from disp_plugin.distributed import choose_device
from disp_plugin.encoders import PriorEncoder
from disp_plugin.encoders.backbone import family_of
from disp_plugin.priors.check_bank import simplify_config

from .metric_card import Space

__all__ = [
    'KNOWN_SPACES',
    'RUN_ENCODER',
    'Config',
    'FeatureSpace',
    'choose_spaces',
    'get_space',
    'run_encoder',
]

Config = Mapping[str, Any]
"""A config of mmengine: a whole run's, or a dict to build something from."""

RUN_ENCODER = 'encoder'
"""Stands for the encoder of the run's priors where a space is configured."""

KNOWN_SPACES: dict[str, Config] = {
    'clean': dict(type='InceptionEncoder', resize='clean'),
    'legacy': dict(type='InceptionEncoder', resize='legacy'),
    'dinov2': dict(type='TimmEncoder', model='vit_small_patch14_dinov2.lvd142m'),
    'clip': dict(type='TimmEncoder', model='vit_base_patch16_clip_224.openai'),
    'pixels': dict(type='PixelEncoder', size=8),
}
"""Name -> config of the encoder. 'prior' is that of the run's priors."""

_SPACES: dict[str, FeatureSpace] = {}


class FeatureSpace:
    """Images -> features, by an encoder that several metrics share.

    Its name is a part of the names of numbers, such as 'clean' or 'dinov2'.
    """

    def __init__(self, name: str, encoder: PriorEncoder) -> None:
        self.name = name
        self.encoder = encoder.to(choose_device())
        self._batch: Tensor | None = None
        self._features: Tensor | None = None

    def features(self, images: Tensor) -> Tensor:
        """Encode images (n, H, W, 3) uint8 RGB: (n, F) float32 on the CPU.

        A batch that came just before, the same object, is not encoded again.
        """
        if self._features is None or self._batch is not images:
            self._features = self.encoder.encode(images).cpu()
            self._batch = images
        return self._features

    def describe(self, family_of_d: str = '') -> Space:
        """Say which space this is, for a card, and whether D sees by a network of its family."""
        parts = self.encoder.describe()
        return Space(
            self.name,
            f'{parts["architecture"]}, {parts["layer"]}',
            str(parts['preprocessing']),
            self.encoder.fingerprint(),
            is_seen_by_d=bool(family_of_d) and family_of(parts['architecture']) == family_of_d,
        )


def get_space(name: str, encoder: Config) -> FeatureSpace:
    """Build a space, or find it where this process has built it of an equal config before.

    Raises:
        FileNotFoundError: The encoder's weights are not at hand.
    """
    file = encoder.get('checkpoint')
    status = os.stat(file) if isinstance(file, str) and os.path.isfile(file) else None
    content = [status.st_size, status.st_mtime_ns] if status else []
    identity = json.dumps([name, simplify_config(encoder), content], sort_keys=True)
    if identity not in _SPACES:
        _SPACES[identity] = FeatureSpace(name, MODELS.build(dict(encoder)))
    return _SPACES[identity]


def run_encoder(cfg: Config) -> Config | None:
    """Find the encoder of a run's priors; None where its GAN takes none."""
    model = cfg.get('model') or {}
    takes_priors = model.get('prior_dim') and not model.get('per_image')
    return cfg.get('encoder') if takes_priors else None


def choose_spaces(
    chosen: Mapping[str, object] | None, cfg: Config | None = None
) -> dict[str, Config | str]:
    """Settle in which spaces to measure.

    Two stand beside each other unless told otherwise: one of the metrics' own, and that of the
    prior, which flatters a generator that was trained on it.

    Args:
        chosen (Mapping[str, object] | None): Name -> config of an encoder, or nothing ('') for a
            name from :data:`KNOWN_SPACES` and for 'prior'. None takes the spaces of the config's
            ``test_evaluator``, else 'clean' and 'prior'.
        cfg (Config | None): Config of the run. Defaults to None.

    Returns:
        dict[str, Config | str]: Name -> config of the encoder, or 'encoder' for the run's own; for
        :class:`StandardEvaluator`.

    Raises:
        ValueError: A name is unknown or has something else, or there is no encoder of priors.
    """
    cfg = cfg or {}
    has_prior = bool(run_encoder(cfg))
    if chosen is None:
        configured = (cfg.get('test_evaluator') or {}).get('spaces')
        if configured:
            return dict(configured)
        chosen = {'clean': '', 'prior': ''} if has_prior else {'clean': ''}
    spaces: dict[str, Config | str] = {}
    for name, encoder in chosen.items():
        if isinstance(encoder, Mapping) and 'type' in encoder:
            spaces[name] = encoder
        elif encoder:
            raise ValueError(
                f'space {name} has {encoder!r}, which is no config of an encoder such as '
                "dict(type='TimmEncoder', model='...'); leave it empty for a known space"
            )
        elif name == 'prior':
            if not has_prior:
                raise ValueError(
                    "there is no space 'prior': the run has no encoder that knows unseen images"
                )
            spaces[name] = RUN_ENCODER
        elif name in KNOWN_SPACES:
            spaces[name] = KNOWN_SPACES[name]
        else:
            raise ValueError(
                f'space {name!r} is unknown; known are {", ".join(KNOWN_SPACES)} and prior; or '
                f'give {name}=dict(type=...), the config of an encoder'
            )
    return spaces
