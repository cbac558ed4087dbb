"""Time and memory of drawing priors from a mixture.

python benchmarks/prior_sampling.py
python benchmarks/prior_sampling.py --axes 1000
"""

import argparse
import json
import resource
import statistics
import time


def make_sampler(args):
    """Give a mixture of random parameters, as large as a fitted one."""
    import torch

    from disp_plugin.samplers import GMMPriorSampler

    generator = torch.Generator().manual_seed(0)
    sampler = GMMPriorSampler(args.components, pca_variance=0.95 if args.axes else None)
    num_axes = args.axes or args.dim
    sampler.set_buffer('mean', torch.randn(args.dim, generator=generator))
    sampler.set_buffer('weights', torch.full((args.components,), 1 / args.components))
    for name in ('means', 'scales'):
        value = torch.rand(args.components, num_axes, generator=generator)
        sampler.set_buffer(name, value)
    if args.axes:
        basis = torch.linalg.qr(torch.randn(args.dim, num_axes, generator=generator))[0].T
        sampler.set_buffer('basis', basis)
        sampler.set_buffer('residual_std', torch.tensor([0.1]))
    return sampler


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--num', type=int, default=50_000)
    parser.add_argument('--dim', type=int, default=4096)
    parser.add_argument('--components', type=int, default=1000)
    parser.add_argument('--axes', type=int, default=0, help='principal axes; 0: raw priors')
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args(argv)

    import torch

    sampler = make_sampler(args)
    sampler.sample(100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(args.rounds):
        start = time.perf_counter()
        priors = sampler.sample(args.num, torch.Generator().manual_seed(0))
        seconds.append(time.perf_counter() - start)
        size = priors.numel() * 4 / 2**20
        del priors
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    result = {name: getattr(args, name) for name in ('num', 'dim', 'components', 'axes')}
    result |= {'s': round(statistics.median(seconds), 2), 'threads': torch.get_num_threads()}
    print(json.dumps({**result, 'mib_of_priors': round(size), 'peak_growth_mib': round(growth)}))


if __name__ == '__main__':
    main()
