"""The GAN half of mmagic, without diffusers, transformers and the rest (the *slim import*).

Symptom: ``import mmagic.models`` needs some twenty packages, among them diffusers and
transformers, fails when one of them is absent or too new, and costs 6 s of processor time where
all are there.
Cause: mmagic/models/editors/__init__.py imports all 60 editors; mmagic/models/archs/
attention_injection.py:6, mmagic/evaluation/metrics/ppl.py:4 and a few more import optional
packages without need.
Upstream: https://github.com/open-mmlab/mmagic (1.2.0).
Delete when: mmagic imports its editors lazily.

The slim import puts only the GANs of ``EDITORS`` into the package ``mmagic.models.editors``; any
other editor is imported when it is asked for by name. While mmagic's own modules are executed, its
imports of heavy or absent packages get placeholders, which raise an ``ImportError`` when they are
used. What is ``DEFERRED`` gets placeholders, too; their first use imports the package and puts it
where they were. Code outside of mmagic and mmengine never sees a placeholder. Of mmengine one
optimizer is left out, the Adafactor of transformers.
"""

import ast
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

EDITORS = (
    'dcgan', 'wgan_gp', 'lsgan', 'ggan', 'pggan', 'stylegan1', 'stylegan2', 'stylegan3', 'sagan',
    'biggan',
)  # fmt: skip

# Of no use to a GAN and slow to import: never imported by a slim mmagic.
HEAVY = ('diffusers', 'transformers', 'albumentations', 'face_alignment')

# mmagic imports them without need: placeholders only where they are absent.
OPTIONAL = ('lpips', 'requests', 'click', 'imageio')

# Who imports early what a GAN may never use -> that package: imported when it is used.
DEFERRED = {
    'mmagic': ('torchvision', 'scipy', 'requests'),
    'mmengine': ('torch.distributed.fsdp', 'torch.distributed.optim'),
}

# What mmagic's full registration imports; where all are there, full registration is possible.
FULL_PACKAGES = (
    'diffusers', 'transformers', 'huggingface_hub', 'albumentations', 'lpips', 'pandas', 'imageio',
    'resize_right', 'einops', 'requests', 'click', 'tqdm',
)  # fmt: skip

# The parts of mmagic that the slim import executes with placeholders.
SLIM_PARTS = ('models', 'datasets', 'engine', 'evaluation', 'visualization', 'structures', 'utils')

FULL_VARIABLE = 'DISP_PLUGIN_FULL_MMAGIC'
EDITORS_PACKAGE = 'mmagic.models.editors'

# mmengine imports transformers for one optimizer (Adafactor), wherever transformers is installed.
OPTIMIZERS_MODULE = 'mmengine.optim.optimizer.builder'

# mmengine's modules that are executed with placeholders, too
MMENGINE_MODULES = (
    OPTIMIZERS_MODULE,
    'mmengine.optim.optimizer.zero_optimizer',
    'mmengine.model.wrappers.fully_sharded_distributed',
    'mmengine._strategy.fsdp',
)


@dataclass
class _State:
    is_full: bool | None = None  # None where nobody has asked yet
    is_chosen: bool = False
    is_executing: bool = False


_state = _State()


def missing_for_full() -> list[str]:
    """List the packages that mmagic's full registration needs and that are not installed."""
    return [name for name in FULL_PACKAGES if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def choose(full: bool) -> None:
    """Choose slim or full for this process, unless mmagic's editors are already imported.

    Raises:
        ImportError: A package that the full import needs is not installed.
    """
    if EDITORS_PACKAGE in sys.modules:
        return
    if full and (missing := missing_for_full()):
        raise ImportError(
            f'mmagic cannot be imported as a whole: {", ".join(missing)} not installed; install '
            f'them, or leave {FULL_VARIABLE} unset for the GAN half, which needs none'
        )
    _state.is_full, _state.is_chosen = full, True


def is_full() -> bool:
    """Tell whether mmagic is, or will be, imported as a whole.

    Without a choice the environment variable ``DISP_PLUGIN_FULL_MMAGIC`` decides; without that,
    mmagic is imported as a whole where all packages for it are installed.
    """
    if _state.is_full is None:
        wish = full_by_environment()
        _state.is_full = not missing_for_full() if wish is None else wish
    return _state.is_full


def full_by_environment() -> bool | None:
    """Read ``DISP_PLUGIN_FULL_MMAGIC``: True for 1, true, yes or on; None where it is not set."""
    value = os.environ.get(FULL_VARIABLE, '').strip().lower()
    return value in ('1', 'true', 'yes', 'on') if value else None


class _PlaceholderClass(type):
    """The type of placeholders for classes, and of classes that inherit from one."""

    real_name = ''

    def __call__(cls, *args: object, **kwargs: object) -> object:
        if name := _name_of(cls):
            return _find_real(name)(*args, **kwargs)
        for child in cls.__mro__:
            if any(map(_name_of, child.__bases__)):
                parents = (_find_real(n) if (n := _name_of(b)) else b for b in child.__bases__)
                child.__bases__ = tuple(parents)
        return super().__call__(*args, **kwargs)

    def __getattr__(cls, name: str) -> object:
        if name.startswith('__') or not _name_of(cls):
            raise AttributeError(name)
        return getattr(_find_real(_name_of(cls)), name)

    def __getitem__(cls, name: str) -> object:
        return _find_real(_name_of(cls))[name]


class _PlaceholderModule(ModuleType):
    """A package with any attribute: a lower-case name is a package or function, else a class."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> object:
        if name.startswith('__'):
            raise AttributeError(name)
        value: object
        real_name = f'{self.__name__}.{name}'
        if name[0].islower():
            value = _PlaceholderModule(real_name)
        else:
            value = _PlaceholderClass(name, (), {'real_name': real_name})
        setattr(self, name, value)
        return value

    def __call__(self, *args: object, **kwargs: object) -> object:
        return _find_real(self.__name__)(*args, **kwargs)


def _name_of(value: object) -> str:
    """Name what a placeholder stands for; '' of anything else."""
    if isinstance(value, _PlaceholderModule):
        return value.__name__
    return vars(value).get('real_name', '') if isinstance(value, _PlaceholderClass) else ''


def _find_real(name: str) -> Any:
    """Import what a placeholder stands for, and replace placeholders in the modules that hold it.

    Raises:
        ImportError: It is a part of a package that the slim import leaves out, or an absent one.
    """
    package = next((p for ps in DEFERRED.values() for p in ps if _is_within(name, p)), None)
    if package is None:
        _raise_missing(name)
    _remove_modules()
    for module in [m for n, m in sys.modules.items() if n.partition('.')[0] in DEFERRED]:
        held = {key: _name_of(value) for key, value in vars(module).items()}
        held = {key: real for key, real in held.items() if real and _is_within(real, package)}
        if any(_is_within(name, real) for real in held.values()):
            for key, real in held.items():
                setattr(module, key, pkgutil.resolve_name(real))
    return pkgutil.resolve_name(name)


def _is_within(name: str, package: str) -> bool:
    return f'{name}.'.startswith(f'{package}.')


def _raise_missing(name: str) -> NoReturn:
    package = name.partition('.')[0]
    raise ImportError(
        f'{name} is a part of {package!r}, which is not imported: pip install {package}, and set '
        f'{FULL_VARIABLE}=1 if it is one of {", ".join(HEAVY)}, which the slim import leaves out'
    )


def _remove_modules() -> None:
    """Take all placeholders out of ``sys.modules``, where other code would meet them."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, _PlaceholderModule):
            del sys.modules[name]
            parent, _, child = name.rpartition('.')
            if vars(sys.modules.get(parent, sys)).get(child) is module:
                delattr(sys.modules[parent], child)


class _PlaceholderFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serve imports of heavy, absent and deferred packages, but only to the host's code."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self.packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a placeholder for ``fullname``, or None."""
        asker = _find_asker()
        host = asker.partition('.')[0]
        is_left_out = fullname.partition('.')[0] in self.packages
        if is_left_out and asker == OPTIMIZERS_MODULE and _state.is_chosen:
            raise ModuleNotFoundError(f'{fullname} is left out by the slim import', name=fullname)
        is_deferred = any(_is_within(fullname, package) for package in DEFERRED.get(host, ()))
        if is_deferred or (is_left_out and host == 'mmagic'):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        _remove_modules()  # this may be code of others, which imports the real packages
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Make the placeholder."""
        return _PlaceholderModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: a placeholder has no code."""


def _find_asker() -> str:
    """Name the module whose import statement is being served."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get('__name__', '')
        # the import machinery, and our part of it, stand between the finder and who imports
        if not name.startswith(('importlib', '_frozen_importlib', 'disp_plugin.upstream')):
            return name
        frame = frame.f_back
    return ''


def is_slim_part(module: str) -> bool:
    """Tell whether a module is executed with placeholders at hand.

    Those are mmagic's parts and their packages, which registries import on their own; the single
    editors, one level deeper, see the real packages.
    """
    parts = module.split('.')
    is_part = len(parts) in (2, 3) and parts[0] == 'mmagic' and parts[1] in SLIM_PARTS
    return is_part or module in MMENGINE_MODULES


@contextmanager
def executing(module: str) -> Iterator[None]:
    """Keep placeholders at hand while a module of a slim mmagic is executed."""
    if not is_slim_part(module) or is_full() or _state.is_executing:
        yield
        return
    packages = HEAVY + tuple(name for name in OPTIONAL if not _is_installed(name))
    # transformers is left where it is, for mmengine may hold parts of it
    hidden = set(packages) - {'transformers'}
    real = {name: m for name, m in sys.modules.items() if name.partition('.')[0] in hidden}
    for name in real:
        del sys.modules[name]
    finder = _PlaceholderFinder(packages)
    sys.meta_path.insert(0, finder)
    _state.is_executing = True
    try:
        yield
    finally:
        _state.is_executing = False
        sys.meta_path.remove(finder)
        _remove_modules()
        sys.modules.update(real)


def fill_editors(package: ModuleType) -> None:
    """Fill ``mmagic.models.editors``, created but not executed, with its GANs alone."""
    # with it mmagic.models, which imports * from here, looks its absent names up here, too
    package.__all__ = ['__getattr__']  # type: ignore[attr-defined]
    package.__getattr__ = functools.partial(_find_editor, package)  # type: ignore[method-assign]
    for editor in EDITORS:
        importlib.import_module(f'{package.__name__}.{editor}')


def _find_editor(package: ModuleType, name: str) -> object:
    """Import an editor that the slim import left out when its name is asked for."""
    if not name.startswith('__'):
        source = Path(str(package.__file__)).read_text(encoding='utf-8')
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and name in [a.name for a in node.names]:
                return getattr(importlib.import_module(f'{package.__name__}.{node.module}'), name)
    raise AttributeError(f'module {package.__name__!r} has no attribute {name!r}')
