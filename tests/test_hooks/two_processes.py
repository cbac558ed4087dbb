"""Run by each of two processes: train, resume, and compare; see test_distributed_resume.py."""

import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).parent))

import conftest  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.dist import all_gather_object, barrier, get_rank  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from disp_plugin.distributed import leave_group  # noqa: E402
from disp_plugin.priors import PriorBank  # noqa: E402
from disp_plugin.samplers import GMMPriorSampler  # noqa: E402

SAMPLER = {'type': 'GMMPriorSampler', 'num_components': 2}
samplers = []
fits = []
fit = GMMPriorSampler.fit
GMMPriorSampler.fit = lambda self, bank: fits.append(get_rank()) or fit(self, bank)


def train(folder, bank_file, work_dir, resume_from=None):
    """Train five iterations with all hooks, of which a resumed run does the last two."""
    config = conftest.run_cfg(
        folder,
        bank_file,
        conftest.sngan(discriminator_steps=1, sampler=SAMPLER),
        work_dir,
        5,
        checkpoint={'interval': 1},
        batch_size=2,
        launcher='pytorch',
        env_cfg={'dist_cfg': {'backend': 'gloo'}},
        randomness={'seed': 1, 'diff_rank_seed': True},
        model_wrapper_cfg={
            'type': 'MMSeparateDistributedDataParallel',
            'broadcast_buffers': False,
            'find_unused_parameters': False,
        },
        custom_hooks=[
            {'type': 'GMMSamplerHook'},
            {'type': 'RandomStateHook'},
            {'type': 'EMABatchNormHook', 'num_batches': 2, 'batch_size': 4},
        ],
        resume=resume_from is not None,
        load_from=resume_from,
    )
    runner = Runner.from_cfg(Config(config))
    runner.train()
    samplers.append(runner.model.module.sampler.means)
    barrier()  # rank 0 saves
    return torch.load(f'{work_dir}/iter_5.pth', weights_only=False)


def main(folder, bank_file, work_dir):
    """Compare the checkpoints of both runs and write what was found."""
    whole = train(folder, bank_file, f'{work_dir}/whole')
    torch.manual_seed(99)
    resumed = train(folder, bank_file, f'{work_dir}/resumed', f'{work_dir}/whole/iter_3.pth')
    all_fits, all_samplers = all_gather_object(fits), all_gather_object(samplers)
    # another bank: every process must forget what was fitted, or they wait for each other
    num_fits = len(fits)
    if get_rank() == 0:
        keys = [f'image_{index:04d}.png' for index in range(10)]
        PriorBank(keys, torch.rand(10, 2, 6) + 50).save(f'{work_dir}/other')
    barrier()
    train(folder, f'{work_dir}/other', f'{work_dir}/changed', f'{work_dir}/whole/iter_3.pth')
    changed = all_gather_object((len(fits) - num_fits, samplers[-1]))
    if get_rank() > 0:
        return
    ranks = [
        checkpoint['random_state']['ranks'][rank]['torch']
        for checkpoint in (whole, resumed)
        for rank in (0, 1)
    ]
    torch.save(
        {
            'different': [
                name
                for name, value in whole['state_dict'].items()
                if not torch.equal(value, resumed['state_dict'][name])
            ],
            'names': list(whole['state_dict']),
            'ranks': ranks,
            'fits': all_fits,
            'changed': [[num, means] for num, means in changed],
            'samplers': [value for values in all_samplers for value in values],
            'num_draws': resumed['message_hub']['runtime_info']['num_train_draws'],
        },
        f'{work_dir}/found.pth',
    )


if __name__ == '__main__':
    main(*sys.argv[1:])
    leave_group()
