"""Time and memory of precision and recall, and of C_T, against naive versions with full matrices.

python benchmarks/feature_metrics.py --rounds 5
python benchmarks/feature_metrics.py --num 50000 --only ours

Features are synthetic (correlated, after a ReLU). Every measurement is a process of its own; ours
and naive take turns. Reported are the medians of seconds and of the growth of peak memory beyond
the features, the median ratio of a turn's two times, and the numbers found, which must agree.
Naive is torch.cdist in float32 of every set with every other, then kthvalue, comparisons and
minima on the full matrices; the clustering of C_T is the same in both. Set OMP_NUM_THREADS=1 to
compare on one core.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

METRICS = ('manifold_scores', 'data_copying')
KS = {'precision': (10, 3), 'recall': (40, 3), 'density': (5,)}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--num', type=int, default=5000, help='features in each set')
    parser.add_argument('--dim', type=int, default=2048)
    parser.add_argument('--rounds', type=int, default=1, help='turns of ours and naive')
    parser.add_argument('--only', choices=['ours', 'naive'], help='measure one of the two')
    parser.add_argument('--metric', choices=METRICS, help='measure one metric only')
    parser.add_argument('--measure', nargs=2, metavar=('METRIC', 'KIND'), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def draw_features(num, dim, seed):
    """(num, dim) float32 features: 64 latent factors of falling strength, noise, a ReLU."""
    import torch

    shape = torch.Generator().manual_seed(0)
    mix = torch.randn(64, dim, generator=shape) / 8
    offset = torch.randn(dim, generator=shape) * 0.3 - 0.2
    generator = torch.Generator().manual_seed(seed)
    features = torch.empty(num, dim)
    for block in features.split(2000):
        latent = torch.randn(len(block), 64, generator=generator) * torch.linspace(2, 0.3, 64)
        noise = 0.3 * torch.randn(block.shape, generator=generator)
        block.copy_((latent @ mix + offset + noise).relu_())
    return features


def naive_manifold_scores(generated, reference):
    """Precision, recall, density and coverage from three full matrices."""
    import torch

    def radii(features, ks):
        distances = torch.cdist(features, features)
        distances.fill_diagonal_(torch.inf)
        return {k: distances.kthvalue(k).values for k in ks}

    around_reference = radii(reference, {*KS['precision'], *KS['density']})
    around_generated = radii(generated, KS['recall'])
    distances = torch.cdist(generated, reference)
    found = {}
    for k in KS['precision']:
        found[f'precision {k}'] = (distances <= around_reference[k]).any(1).float().mean()
    for k in KS['recall']:
        found[f'recall {k}'] = (distances <= around_generated[k][:, None]).any(0).float().mean()
    for k in KS['density']:
        inside = distances <= around_reference[k]
        found[f'density {k}'] = inside.sum(1).float().mean() / k
        found[f'coverage {k}'] = inside.any(0).float().mean()
    return {name: float(value) for name, value in found.items()}


def naive_data_copying(generated, train, held_out):
    """C_T from two full matrices, with the cells and the rank statistic of ours."""
    import torch

    from disp_plugin.evaluation import data_copying as ours

    num_cells = ours.choose_num_cells(len(generated), len(train), len(held_out))
    matrices = [torch.cdist(features, train) for features in (generated, held_out)]
    trials = []
    for seed in range(5):
        cells, *others = ours.divide(train, (generated, held_out), num_cells, seed)
        total = weight = 0
        for cell in range(num_cells):
            near, unseen = (
                matrix[labels == cell][:, cells == cell].amin(1)
                for matrix, labels in zip(matrices, others, strict=True)
            )
            total += len(unseen) * ours.rank_statistic(near, unseen)
            weight += len(unseen)
        trials.append(total / weight)
    return {'C_T': sum(trials) / len(trials)}


def our_manifold_scores(generated, reference):
    from disp_plugin.evaluation.manifold_scores import manifold_scores

    scores = manifold_scores(generated, reference)
    return {f'{name} {k}': estimate.value for (name, k), estimate in scores.items()}


def our_data_copying(generated, train, held_out):
    from disp_plugin.evaluation.data_copying import data_copying

    return {'C_T': data_copying(generated, train, held_out).value}


def peak_mib():
    """Peak of what this process has held since the last reset, in MiB."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith('VmHWM')).split()[1]) / 1024


def measure(args, metric, kind):
    """Measure in this process."""
    import sklearn.cluster  # noqa: F401

    import disp_plugin.evaluation  # noqa: F401

    compute = {
        ('manifold_scores', 'ours'): our_manifold_scores,
        ('manifold_scores', 'naive'): naive_manifold_scores,
        ('data_copying', 'ours'): our_data_copying,
        ('data_copying', 'naive'): naive_data_copying,
    }[metric, kind]
    sets = [draw_features(args.num, args.dim, seed) for seed in range(1, 3)]
    if metric == 'data_copying':
        sets.append(draw_features(args.num, args.dim, 3))
    Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew at what is held now
    before = peak_mib()
    start = time.perf_counter()
    numbers = compute(*sets)
    seconds = time.perf_counter() - start
    peak = round(peak_mib() - before)
    return {'s': round(seconds, 4), 'peak_mib': peak, 'numbers': numbers}


def measure_apart(args, metric, kind):
    """Measure in a fresh process."""
    again = [sys.executable, __file__, '--measure', metric, kind]
    again += ['--num', str(args.num), '--dim', str(args.dim)]
    root = str(Path(__file__).resolve().parents[1])
    env = {**os.environ, 'PYTHONPATH': root}
    done = subprocess.run(again, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().split('\n')[-1])


def main(argv=None):
    args = parse_args(argv)
    if args.measure:
        print(json.dumps(measure(args, *args.measure)))
        return
    from statistics import median

    kinds = [args.only] if args.only else ['naive', 'ours']
    report = {name: getattr(args, name) for name in ('num', 'dim', 'rounds')}
    for metric in [args.metric] if args.metric else METRICS:
        turns = [
            {kind: measure_apart(args, metric, kind) for kind in kinds} for _ in range(args.rounds)
        ]
        report[metric] = {
            kind: {
                's': median(turn[kind]['s'] for turn in turns),
                'peak_mib': median(turn[kind]['peak_mib'] for turn in turns),
                'numbers': turns[0][kind]['numbers'],
            }
            for kind in kinds
        }
        if not args.only:
            ratios = [turn['ours']['s'] / turn['naive']['s'] for turn in turns]
            report[metric]['ratio'] = round(median(ratios), 2)
            report[metric]['ratios'] = [round(ratio, 2) for ratio in ratios]
    print(json.dumps(report))


if __name__ == '__main__':
    main()
