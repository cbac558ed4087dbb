"""Data InStance Prior (DISP) for the GANs of mmagic: the map of the house.

    image --encoder--> prior --> bank --> sample (image + prior) --> GAN step
                                  `--fit--> sampler --new priors--> trained generator --> images

Rooms, each of which imports only from those above it:

    upstream/    what mmagic needs on a current stack, one file per repair
    datasets/    files -> images: the one decoder, and draws that can be restored
    encoders/    image -> prior
    priors/      the bank of priors, how it is built and looked up
    models/      generators, discriminators and GANs that take a prior
    samplers/    bank -> new priors
    techniques/  what DISP is combined or compared with
    hooks/       when things happen
    cli/         from a command line to a run: options checked, sizes chosen, errors explained
    applications/  trained model -> uses
    evaluation/  images -> numbers: metrics, tests for memorization, the report

Importing this package is cheap; ``import disp_plugin.register`` mends mmagic and registers all.
"""

from pathlib import Path

__version__ = '0.1.0'

__all__ = ['__version__', 'base']


def base(name: str) -> str:
    """Find a config that this package ships, for the ``_base_`` of another project's config.

    A config outside of this project inherits from one of ours by
    ``_base_ = [__import__('disp_plugin').base('disp_biggan_folder.py')]``. As our configs inherit
    mmagic's, the reading of such configs is mended on the way (see ``upstream/``).

    Args:
        name (str): Path of a config relative to ``configs/``, such as ``'disp_biggan_digits.py'``.

    Returns:
        str: Absolute path of that config file.

    Raises:
        FileNotFoundError: No such config is shipped; the message lists those there are.
    """
    from disp_plugin.upstream import patch_config_reading

    patch_config_reading()
    folder = _find_shipped('configs')
    if (folder / name).is_file():
        return str(folder / name)
    known = sorted(path.name for path in folder.glob('*.py'))
    raise FileNotFoundError(f'disp_plugin ships no config {name!r}; it ships {", ".join(known)}')


def _find_shipped(name: str) -> Path:
    """Find ``configs`` or ``tools``: within the package in a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    carried = here / '.mim' / name
    return carried if carried.is_dir() else here.parent / name
