"""Names for the spaces that metrics are usually computed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from disp_plugin.encoders import can_encode_new_images

__all__ = ['KNOWN_SPACES', 'choose_spaces', 'read_spaces']

KNOWN_SPACES: dict[str, dict[str, Any]] = {
    'clean': dict(type='InceptionEncoder', resize='clean'),
    'legacy': dict(type='InceptionEncoder', resize='legacy'),
    'dinov2': dict(type='TimmEncoder', model='vit_small_patch14_dinov2.lvd142m'),
    'clip': dict(type='TimmEncoder', model='vit_base_patch16_clip_224.openai'),
    'pixels': dict(type='PixelEncoder', size=8),
}
"""Name -> config of the encoder. 'prior' is that of the run's priors."""


def read_spaces(options: Mapping[str, Any] | None) -> list | None:
    """Read what a command line says: ``clean= mine="dict(type='TimmEncoder', ...)"``.

    Args:
        options (Mapping[str, Any] | None): Name -> config of an encoder, or nothing.

    Returns:
        list | None: For :func:`choose_spaces`.

    Raises:
        ValueError: A name has something that is no config of an encoder.
    """
    if options is None:
        return None
    for name, encoder in options.items():
        if encoder and not (isinstance(encoder, Mapping) and 'type' in encoder):
            raise ValueError(
                f'space {name} has {encoder!r}, which is no config of an encoder such as '
                "dict(type='TimmEncoder', model='...'); leave it empty for a known space"
            )
    return [(name, encoder) if encoder else name for name, encoder in options.items()]


def choose_spaces(
    chosen: Sequence[str | tuple[str, Mapping[str, Any]]] | None,
    cfg: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """Settle in which spaces to measure.

    Two stand beside each other unless told otherwise: one of the metrics' own, and that of the
    prior, which flatters a generator that was trained on it.

    Args:
        chosen (Sequence | None): Names from :data:`KNOWN_SPACES` or 'prior', or pairs of a name and
            the config of an encoder. None takes those of the config's ``test_evaluator``, else
            'clean' and 'prior'.
        cfg (Mapping | None): Config of the run. Defaults to None.

    Returns:
        dict[str, dict[str, Any]]: Name -> config of the encoder.

    Raises:
        ValueError: A name is unknown, or there is no encoder of priors.
    """
    cfg = cfg or {}
    prior = cfg.get('encoder')
    if not (can_encode_new_images(prior) and cfg['model'].get('prior_dim')):
        prior = None
    if chosen is None:
        configured = (cfg.get('test_evaluator') or {}).get('spaces')
        if configured:
            return {
                name: dict(cfg) for name, cfg in configured.items() if can_encode_new_images(cfg)
            }
        chosen = ['clean', 'prior'] if prior else ['clean']
    spaces: dict[str, dict[str, Any]] = {}
    for item in chosen:
        name, encoder = (item, None) if isinstance(item, str) else item
        if encoder is None and name == 'prior':
            if prior is None:
                raise ValueError(
                    "there is no space 'prior': the run has no encoder that knows unseen images"
                )
            encoder = prior
        if encoder is None and name not in KNOWN_SPACES:
            raise ValueError(
                f'space {name!r} is unknown; known are {", ".join(KNOWN_SPACES)} and prior; or '
                f'give {name}=dict(type=...), the config of an encoder'
            )
        spaces[name] = dict(encoder or KNOWN_SPACES[name])
    return spaces
