"""Full registration of mmagic beside current diffusers and transformers.

It needs what mmagic's other half imports; in an environment without, the test is skipped and says
so. ``pip install diffusers transformers albumentations lpips pandas imageio resize-right einops
requests``
"""

import json
import os
import subprocess
import sys

import pytest

from disp_plugin.upstream import slim_import

MISSING = slim_import.missing_for_full()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING),
        reason=f'full registration needs packages not installed: {", ".join(MISSING)}',
    ),
]

SCRIPT = """
import json, sys
if 'by import' in sys.argv:
    from disp_plugin.upstream import apply_patches, patch_config_reading
    patch_config_reading()
    import mmagic.models
mode = sys.argv[1]
from disp_plugin.upstream import apply_patches, diffusers_names, repairs
if mode == 'left out':
    from disp_plugin.upstream import repair
    repair._states['diffusers-names'] = repair.NOT_NEEDED
apply_patches()
from mmagic.registry import MODELS
names = ['BigGAN', 'StableDiffusion', 'ViCo', 'AnimateDiff', 'ClipWrapper', 'RRDBNet']
answers = {'absent': [name for name in names if MODELS.get(name) is None]}
answers['models'] = len(MODELS.module_dict)
answers['moved'] = diffusers_names.moved()
answers['states'] = {repair.name: repair.state for repair in repairs()}
import diffusers, transformers
answers['real'] = [hasattr(diffusers, 'UNet2DConditionModel'), hasattr(transformers, 'CLIPModel')]
docs = {name: getattr(sys.modules.get(name), '__doc__', None) for name in diffusers_names.ALIASES}
answers['aliases'] = [name for name, doc in docs.items() if 'Alias of disp_plugin' in (doc or '')]
print(json.dumps(answers))
"""


def run(mode, repo_root, full='1'):
    return subprocess.run(
        [sys.executable, '-c', SCRIPT, mode],
        env=dict(os.environ, PYTHONPATH=str(repo_root), DISP_PLUGIN_FULL_MMAGIC=full),
        capture_output=True,
        text=True,
    )


def test_all_of_mmagic_registers_and_the_packages_stay_as_they_are(repo_root):
    result = run('by mend', repo_root)
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout.splitlines()[-1])
    assert answers['absent'] == []
    assert answers['models'] > 300
    assert answers['real'] == [True, True]
    assert answers['aliases'] == []


def test_mmagic_imported_before_mend_is_whole_and_is_kept(repo_root):
    result = run('by import', repo_root, full='')
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])['absent'] == []


def test_without_the_aliases_registration_dies(repo_root):
    result = run('left out', repo_root)
    assert result.returncode != 0
    assert 'diffusers' in result.stderr.splitlines()[-1]
