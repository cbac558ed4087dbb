"""Run by each of two processes: train, resume, and compare; see test_distributed_resume.py."""

import os
import signal
import sys

import pytest
import torch
from mmagic.registry import HOOKS
from mmengine.dist import all_gather_object, barrier, get_rank
from mmengine.hooks import Hook
from tiny_runs import (  # beside this script; the name 'tests' may be another package's
    EMA_BATCH_NORM,
    GMM,
    build_runner,
    find_differences,
    gan_cfg,
    load,
    save_bank,
    snapshot,
)

from disp_plugin.distributed import leave_group
from disp_plugin.samplers import GMMPriorSampler
from disp_plugin.signals import Stopped

torch.set_num_threads(1)
fits = []
fit = GMMPriorSampler.fit
GMMPriorSampler.fit = lambda self, bank: fits.append(get_rank()) or fit(self, bank)


@HOOKS.register_module()
class SignalHook(Hook):
    """Send SIGTERM to the second process in the second step."""

    def before_train_iter(self, runner, batch_idx, *args, **kwargs):
        if batch_idx == 1 and get_rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def train(folder, bank_file, work_dir, resume_from=None, hooks=(), interval=1):
    """Train five iterations with all hooks; give the runner and the sampler's means."""
    runner = build_runner(
        folder,
        bank_file,
        gan_cfg('sngan', discriminator_steps=1, sampler=GMM),
        work_dir,
        5,
        batch_size=2,
        launcher='pytorch',
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        randomness=dict(seed=1, diff_rank_seed=True),
        model_wrapper_cfg=dict(
            type='MMSeparateDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=False,
        ),
        hooks=[EMA_BATCH_NORM, *hooks],
        checkpoint=dict(interval=interval),
        resume_from=resume_from,
    )
    runner.train()
    barrier()  # rank 0 saves
    return runner, runner.model.module.sampler.means


def main(folder, bank_file, work_dir):
    """Compare the checkpoints of both runs and write what was found."""
    first, means = train(folder, bank_file, f'{work_dir}/whole')
    torch.manual_seed(99)
    stop = snapshot(first, 3)
    second, same_means = train(folder, bank_file, f'{work_dir}/resumed', stop)
    samplers, all_fits = all_gather_object((means, same_means)), all_gather_object(list(fits))
    # another bank: every process must forget what was fitted, or they wait for each other
    fits.clear()
    if get_rank() == 0:
        save_bank(f'{work_dir}/other', torch.rand(10, 2, 6) + 50)
    barrier()
    _, means = train(folder, f'{work_dir}/other', f'{work_dir}/changed', stop)
    changed = all_gather_object((len(fits), means))
    rank, stopped = get_rank(), f'{work_dir}/stopped'
    with pytest.raises(Stopped):  # both, though one is told
        train(folder, bank_file, stopped, hooks=[dict(type='SignalHook')], interval=100)
    if rank == 0:
        whole, resumed = load(first, 5), load(second, 5)
        found = dict(
            names=list(whole['state_dict']),
            different=list(find_differences(whole['state_dict'], resumed['state_dict'])),
            ranks=[[r['torch'] for r in c['random_state']['ranks']] for c in (whole, resumed)],
            num_draws=resumed['message_hub']['runtime_info']['num_train_draws'],
            fits=all_fits,
            samplers=[value for values in samplers for value in values],
            changed=changed,
            steps=[
                {part: checkpoint[part] for part in ('state_dict', 'optimizer', 'random_state')}
                for checkpoint in (load(first, 3), torch.load(f'{stopped}/iter_3.pth'))
            ],
        )
        torch.save(found, f'{work_dir}/found.pth')


if __name__ == '__main__':
    main(*sys.argv[1:])
    leave_group()
