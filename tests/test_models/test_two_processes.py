"""Two processes on the CPU end with the weights of one process that has the whole batch."""

import os
import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.slow

STYLEGAN2 = [
    'model.generator.channel_max=8',
    'model.generator.style_channels=8',
    'model.generator.num_mlps=2',
    'model.discriminator.discriminator.channel_max=8',
    'model.loss_config.r1_interval=2',
    # draws its own noise for half a batch, which is another half in each process
    'model.loss_config.g_reg_weight=0.0',
    # no process waits for the gradients of what is frozen
    "model.discriminator.freeze=dict(type='FreezeD', blocks=1)",
]

# each image is augmented alike, whichever process has it
BIGGAN = [
    'model.discriminator_steps=2',
    "model.discriminator.augmentation=dict(type='DiffAugment')",
    "model.disc_losses=dict(consistency=dict(type='ConsistencyRegularization'))",
]

# noise is injected in both networks' steps
FASTGAN = [
    'image_size=64',
    'model.generator.base_channels=4',
    'model.discriminator.discriminator.base_channels=4',
]

# averages of scores, pairs of one prior, penalties, parameters of augmentations
LOSSES = [
    'model.loss=relativistic',
    'model.discriminator.type=AugSelfDiscriminator',
    "model.discriminator.augmentation=dict(type='DiffAugment')",
    "model.disc_losses=dict(lecam=dict(type='LeCamLoss', start=1), "
    "augself=dict(type='AugSelfLoss', network='disc'), "
    "r2=dict(type='R1GradientPenalty', images='fake', loss_weight=1.0, interval=1))",
    "model.gen_losses=dict(augself=dict(type='AugSelfLoss', network='gen'))",
]

SSGAN = ['model.discriminator_steps=1']
SELF_CONDITIONED = ['prior_dim=5', 'model.sampler.interval=1']
LOGO = [
    'prior_dim=5',
    "encoder=dict(type='CheckpointEncoder', arch='timm/resnet18', untrained=True, in_size=16, "
    'arch_kwargs=dict(channels=[4, 8, 8, 16]))',
]


def run_in_two_processes(repo_root, folder, config, arguments):
    done = subprocess.run(
        [str(repo_root / 'tools/dist_train.sh'), config, '2', *arguments],
        env={
            **os.environ,
            'PYTHON': sys.executable,
            'PORT': str(20000 + os.getpid() % 20000),
            'OMP_NUM_THREADS': '1',
        },
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def list_arguments(num_processes, work_dir, data_root, options, method='per_image'):
    """Arguments of train.py for 4 iterations of 8 images, however many processes share them."""
    return [
        *('--method', method, '--work-dir', str(work_dir)),
        '--cfg-options',
        f'data_root={data_root}',
        'train_cfg.max_iters=4',
        f'train_dataloader.batch_size={8 // num_processes}',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        *options,
        'default_hooks.checkpoint.interval=2',
        # Adam's first steps are signs of gradients; a large epsilon keeps them continuous.
        'optim_wrapper.generator.optimizer.eps=0.01',
        'optim_wrapper.discriminator.optimizer.eps=0.01',
    ]


@pytest.fixture(
    scope='module',
    params=[
        ('biggan_digits', BIGGAN, 'per_image'),
        ('stylegan2_digits', STYLEGAN2, 'per_image'),
        ('fastgan_folder', FASTGAN, 'per_image'),
        ('sngan_digits', LOSSES, 'per_image'),
        ('sngan_digits', SSGAN, 'ssgan'),
        ('sngan_digits', SELF_CONDITIONED, 'self_conditioned'),
        ('sngan_digits', LOGO, 'logo'),
    ],
    ids=lambda param: f'{param[0]}-{param[2]}',
)
def weights(request, repo_root, tool, digits_folder, tmp_path_factory):
    """Train 4 iterations in 1 and in 2 processes; give the weights after 4 and after 2."""
    name, options, method = request.param
    folder = tmp_path_factory.mktemp('processes')
    if method == 'logo':
        options = [*options, f'bank_file={folder}/bank.safetensors']

    def arguments(num_processes):
        folder_of_run = folder / str(num_processes)
        return list_arguments(num_processes, folder_of_run, digits_folder, options, method)

    config = str(repo_root / f'configs/disp_{name}.py')
    tool('train.py').main([config, *arguments(1)])
    run_in_two_processes(repo_root, folder, config, arguments(2))
    return [
        [
            torch.load(folder / num_processes / f'iter_{num}.pth', weights_only=False)['state_dict']
            for num in (4, 2)
        ]
        for num_processes in '12'
    ]


def test_two_processes_train_what_one_trains(weights, request):
    # SSGAN's steps multiply what is rounded: equal networks of one process, fused or not, are 2e-2
    # of the generator's way apart after 4 iterations, too; two processes, 1e-5 of it after 2
    is_early = 'ssgan' in request.node.callspec.id
    one, two = (snapshots[is_early] for snapshots in weights)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_training_moved_the_weights(weights):
    (last, first), _ = weights
    for name, value in last.items():
        if name.startswith('generator.') and name.endswith(('weight', 'weight_orig', 'bias')):
            assert not torch.equal(value, first[name]), name


@pytest.mark.parametrize(('gan', 'options'), [('biggan', BIGGAN), ('stylegan2', STYLEGAN2)])
def test_in_bfloat16_with_accumulated_gradients_too(
    repo_root, tool, digits_folder, tmp_path, gan, options
):
    config = str(repo_root / f'configs/disp_{gan}_digits.py')
    if gan == 'biggan':
        options = ['model.generator.base_channels=4', *options[1:]]

    options = ['optim_wrapper.discriminator.accumulative_counts=2', *options]

    def arguments(num_processes, name):
        given = list_arguments(num_processes, tmp_path / name, digits_folder, options)
        return ['--precision', 'bfloat16', *given]

    tool('train.py').main([config, *arguments(1, 'one')])
    run_in_two_processes(repo_root, tmp_path, config, arguments(2, 'two'))
    one, start, two = (
        torch.load(tmp_path / file, weights_only=False)
        for file in ('one/iter_4.pth', 'one/iter_2.pth', 'two/iter_4.pth')
    )
    assert two['optimizer']['generator']['precision'] == 'bfloat16'
    for part in ('generator.', 'discriminator.'):
        names = [n for n in one['state_dict'] if n.startswith(part) and 'weight_orig' in n]
        moved, apart = (
            sum((c['state_dict'][n] - one['state_dict'][n]).square().sum() for n in names) ** 0.5
            for c in (start, two)
        )
        # all that differs are halves of sums, which round by 2^-8 in each layer
        assert 0 < apart < 0.2 * moved


def test_augmentation_follows_the_scores_of_both_processes(repo_root, digits_folder, tmp_path):
    """DISP-StyleGAN2 with all that it has: R1 through ADA, path length, style mixing."""
    augmentation = (
        "dict(type='ADAAug', aug_pipeline=dict(xflip=1, rotate90=1, scale=1, brightness=1), "
        'update_interval=2, augment_initial_p=0.3, ada_kimg=1)'
    )
    arguments = [
        *('--method', 'per_image', '--work-dir', str(tmp_path / 'run'), '--cfg-options'),
        f'data_root={digits_folder}',
        'train_cfg.max_iters=5',
        'train_dataloader.batch_size=4',
        *STYLEGAN2[:-2],
        'model.loss_config.g_reg_interval=2',
        f'model.discriminator.discriminator.data_aug={augmentation}',
        'default_hooks.checkpoint.interval=5',
    ]
    config = str(repo_root / 'configs/disp_stylegan2_digits.py')
    run_in_two_processes(repo_root, tmp_path, config, arguments)
    state = torch.load(tmp_path / 'run/iter_5.pth', weights_only=False)['state_dict']
    name = next(k for k in state if k.endswith('ada_aug.aug_pipeline.p'))
    # two updates, each by the images of two batches in two processes, in thousands
    steps = (state[name] - 0.3) / (2 * 4 * 2 / 1000)
    assert abs(steps.round()) == 2 and abs(steps - steps.round()) < 1e-3
    # what was counted since
    counts = state[name.replace('aug_pipeline.p', 'log_buffer')]
    assert counts[0] == 4 * 2
    assert all(value.isfinite().all() for value in state.values())
