"""Data InStance Prior (DISP) for the GANs of mmagic: a map of the package.

    image --encoder--> prior --> bank --> sample (image + prior) --> GAN step
                                  `--fit--> sampler --new priors--> trained generator --> images

Rooms, each of which imports only from those above it:

    upstream/      what mmagic needs on a current stack
    datasets/      files -> images
    encoders/      image -> prior
    priors/        the bank of priors: built, checked, looked up
    models/        generators, discriminators and GANs that take a prior
    samplers/      bank -> new priors
    techniques/    what DISP is combined or compared with
    hooks/         when things happen in a run
    applications/  trained model -> uses
    evaluation/    images -> numbers: metrics, tests for memorization, the report
    cli/           command lines -> runs

Files beside them serve all rooms: ``settings.py`` (where a config holds what), ``weights.py``,
``files.py``, ``literals.py``, ``precision.py``, ``progress.py``, ``signals.py``,
``distributed.py``. ``doctor.py`` checks an installation. Importing this package is cheap;
``import disp_plugin.register`` patches mmagic and registers every class. Decisions are in
``configs/``, commands in ``tools/``.
"""

import importlib
from pathlib import Path

__version__ = '0.1.0'

_LAZY = {
    'ImageFolderDataset': 'datasets',
    'PriorBank': 'priors',
    'build_bank': 'priors',
    'choose_default_encoder': 'encoders',
    'load_gan': 'applications',
    'sample_images': 'applications',
}
"""The Python API: name -> room, which is imported when the name is asked for."""

__all__ = ['__version__', 'base', *_LAZY]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    importlib.import_module(f'{__name__}.register')  # classes find each other by their registry
    return getattr(importlib.import_module(f'{__name__}.{_LAZY[name]}'), name)


def base(name: str) -> str:
    """Find a config that this package ships, for the ``_base_`` of another project's config.

    A config outside of this project inherits from one of ours by
    ``_base_ = [__import__('disp_plugin').base('disp_biggan_folder.py')]``. Our configs inherit
    mmagic's, so this patches the reading of configs, too (see ``upstream/``).

    Args:
        name (str): Path of a config relative to ``configs/``, such as ``'disp_biggan_digits.py'``.

    Raises:
        FileNotFoundError: No such config is shipped; the message lists those there are.
    """
    from disp_plugin.upstream import patch_config_reading

    patch_config_reading()
    folder = find_shipped('configs')
    if (folder / name).is_file():
        return str(folder / name)
    known = sorted(path.name for path in folder.glob('*.py'))
    raise FileNotFoundError(f'disp_plugin ships no config {name!r}; it ships {", ".join(known)}')


def find_shipped(name: str) -> Path:
    """Find ``configs`` or ``tools``: within the package in a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    shipped = here / '.mim' / name
    return shipped if shipped.is_dir() else here.parent / name
