"""Time and memory of a mixture's fit, against scikit-learn's GaussianMixture called naively.

python benchmarks/gmm_fit.py
python benchmarks/gmm_fit.py --rows 200000 --dim 4096 --components 1000 --only ours \\
    --device cuda

Both fit the same synthetic priors (correlated, after a ReLU) in processes of their own; reported
are seconds, those of processor time, EM iterations, growth of the peak memory, and the mean
log-likelihood of held-out priors in their own space. Naive is scikit-learn's default: float64, raw
priors, its own start and tolerance. 'ours' is GMMPriorSampler as it stands, 'raw' the same without
principal axes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

NUM_HELD_OUT = 4000


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rows', type=int, default=20_000)
    parser.add_argument('--dim', type=int, default=1024)
    parser.add_argument('--components', type=int, default=200)
    parser.add_argument('--priors', choices=['factors', 'classes'], default='factors')
    parser.add_argument('--seed', type=int, default=0, help='of our fit')
    parser.add_argument('--rounds', type=int, default=1, help='alternating; medians are reported')
    parser.add_argument('--only', choices=['naive', 'ours', 'raw'], help='fit in one way only')
    parser.add_argument('--device', help='of our fit, such as cuda (default: NumPy)')
    parser.add_argument('--fit', nargs=2, metavar=('KIND', 'FOLDER'), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def write_priors(file, num, dim, seed, kind='factors'):
    """Write (num, dim) float32 features after a ReLU.

    factors: 64 latent factors of falling strength, an offset and noise. classes: 300 classes, some
    far more frequent than others, 16 factors within them, an image's own contrast; of four values
    three are zero.
    """
    shape = np.random.default_rng(0)
    mix = shape.normal(size=(64, dim)) / 8
    offset = shape.normal(size=dim) * 0.3 - 0.2
    centers = shape.normal(size=(300, dim))
    frequencies = 1 / np.arange(1, 301)
    rng = np.random.default_rng(seed)
    priors = np.lib.format.open_memmap(file, 'w+', np.float32, (num, dim))
    for start in range(0, num, 2000):
        part = priors[start : start + 2000]
        if kind == 'classes':
            labels = rng.choice(300, len(part), p=frequencies / frequencies.sum())
            part[:] = centers[labels] + rng.normal(size=(len(part), 16)) @ mix[:16] * 3
            part += 0.3 * rng.normal(size=part.shape) - 1
            part *= np.exp(0.3 * rng.normal(size=(len(part), 1)))
        else:
            latent = rng.normal(size=(len(part), 64)) * np.linspace(2, 0.3, 64)
            part[:] = latent @ mix + offset + 0.3 * rng.normal(size=part.shape)
        np.maximum(part, 0, out=part)


class Bank:
    """The part of a PriorBank that samplers read, over a mapped array."""

    def __init__(self, file):
        self.priors = np.load(file, mmap_mode='r')
        self.num_images, self.prior_dim = self.priors.shape
        self.keys = range(self.num_images)

    def take(self, rows):
        """Copy the priors of some rows."""
        return self.priors[rows]


def peak_mib():
    """Peak of what this process holds beyond mapped files, in MiB."""
    fields = dict(line.split(':') for line in Path('/proc/self/status').read_text().splitlines())
    return (int(fields['VmHWM'].split()[0]) - int(fields['RssFile'].split()[0])) / 1024


def fit_naive(args, file):
    from sklearn.mixture import GaussianMixture

    priors = np.load(file).astype(np.float64)
    mixture = GaussianMixture(args.components, covariance_type='diag', random_state=0)
    return mixture.fit(priors), mixture.n_iter_


def fit_ours(args, file, **options):
    from disp_plugin.samplers import GMMPriorSampler

    sampler = GMMPriorSampler(
        args.components, fit_subset=args.rows, seed=args.seed, device=args.device, **options
    )
    run, iterations = sampler.run_em, []
    sampler.run_em = lambda *given: iterations.append(run(*given)) or iterations[-1]
    sampler.fit(Bank(file))
    return sampler, iterations[0].n_iter_


def held_out_likelihood(fitted, file):
    """Mean log-likelihood of held-out priors under what was fitted, by scikit-learn in float64."""
    from sklearn.mixture import GaussianMixture

    priors = np.load(file).astype(np.float64)
    if isinstance(fitted, GaussianMixture):
        return float(fitted.score(priors))
    state = {name: value.double().numpy() for name, value in fitted.state_dict().items()}
    points = priors - state['mean']
    rest = 0.0
    if 'basis' in state:
        inside = points @ state['basis'].T
        num_rest = points.shape[1] - inside.shape[1]
        variance = float(state['residual_std'][0]) ** 2
        left = (points**2).sum(1) - (inside**2).sum(1)
        if num_rest:
            rest = -0.5 * (left / variance + num_rest * np.log(2 * np.pi * variance)).mean()
        points = inside
    mixture = GaussianMixture(len(state['weights']), covariance_type='diag')
    mixture.weights_, mixture.means_ = state['weights'], state['means']
    mixture.covariances_ = state['scales'] ** 2
    mixture.precisions_cholesky_ = 1 / state['scales']
    return float(mixture.score(points) + rest)


def fit_once(args):
    """Fit in this process and print what it took."""
    kind, folder = args.fit[0], Path(args.fit[1])
    import sklearn.cluster
    import sklearn.mixture  # noqa: F401

    if kind != 'naive':
        import disp_plugin.register  # noqa: F401
    before = peak_mib()
    start, cpu_start = time.perf_counter(), time.process_time()
    fit = {
        'naive': lambda: fit_naive(args, folder / 'train.npy'),
        'ours': lambda: fit_ours(args, folder / 'train.npy'),
        'raw': lambda: fit_ours(args, folder / 'train.npy', pca_variance=None),
    }[kind]
    fitted, iterations = fit()
    seconds = time.perf_counter() - start
    cpu_seconds = time.process_time() - cpu_start
    result = {'s': round(seconds, 1), 'cpu_s': round(cpu_seconds, 1), 'iterations': int(iterations)}
    result['peak_mib'] = round(peak_mib() - before)
    result['held_out'] = round(held_out_likelihood(fitted, folder / 'test.npy'), 1)
    print(json.dumps(result))


def main(argv=None):
    args = parse_args(argv)
    if args.fit:
        fit_once(args)
        return
    kinds = [args.only] if args.only else ['naive', 'ours', 'raw']
    results = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        write_priors(Path(folder) / 'train.npy', args.rows, args.dim, 1, args.priors)
        write_priors(Path(folder) / 'test.npy', NUM_HELD_OUT, args.dim, 2, args.priors)
        for _ in range(args.rounds):
            for kind in kinds:
                again = [sys.executable, __file__, '--fit', kind, folder]
                for name in ('rows', 'dim', 'components', 'seed'):
                    again += [f'--{name}', str(getattr(args, name))]
                again += ['--device', args.device] if args.device else []
                root = str(Path(__file__).resolve().parents[1])
                env = {**os.environ, 'SCIPY_ARRAY_API': '1', 'PYTHONPATH': root}
                done = subprocess.run(again, env=env, stdout=subprocess.PIPE, text=True, check=True)
                results[kind].append(json.loads(done.stdout.strip().split('\n')[-1]))
    median = {
        kind: {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
        for kind, runs in results.items()
    }
    if not args.only:
        for kind in ('ours', 'raw'):
            median[kind]['times_faster'] = round(median['naive']['s'] / median[kind]['s'], 1)
    sizes = {name: getattr(args, name) for name in ('rows', 'dim', 'components', 'priors')}
    print(json.dumps({**sizes, **median}))


if __name__ == '__main__':
    main()
