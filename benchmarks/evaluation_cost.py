"""What do the metrics cost beside generating and encoding the images?

All metrics but IvOM, in one space of Inception's size. Sampling and encoding are timed on some
of the images and scaled up (they are linear in their number), the metrics on as many features as
asked for. Weights are random: what an image shows does not matter to the time. Real features are
encoded once for all evaluations of a data set and are not counted.

python benchmarks/evaluation_cost.py --images 10000 --timed 128
"""

import argparse
import json
import tempfile
import time

import torch
from mmagic.registry import MODELS

import disp_plugin.register  # noqa: F401
from disp_plugin.distributed import choose_device
from disp_plugin.evaluation import StandardEvaluator
from disp_plugin.evaluation.metric_card import ImageSet
from disp_plugin.evaluation.metrics.seeded_batches import make_batches
from disp_plugin.evaluation.reference_set import ReferenceSet
from disp_plugin.files import write_file

WANTED = 1.1


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=int, default=10000, help='to evaluate (default: 10000)')
    parser.add_argument('--timed', type=int, default=128, help='sampled and encoded (default: 128)')
    parser.add_argument('--real', type=int, default=10000, help='held out, and training images')
    parser.add_argument('--size', type=int, default=128, help='of the images (default: 128)')
    parser.add_argument('--batch-size', type=int, default=32, help='default: 32')
    parser.add_argument('--out', help='JSON file to write the numbers to')
    return parser.parse_args(argv)


def build_gan(size):
    """Build a BigGAN of full width with 4096-d priors."""
    from disp_plugin.cli.config import load_config
    from disp_plugin.priors import PriorBank

    cfg = load_config(
        'configs/disp_biggan_places2.5k.py',
        {'model.pretrained': None, 'model.image_size': size},
    )
    gan = MODELS.build(cfg.model)
    keys = [f'{index:03d}' for index in range(100)]
    gan.sampler.fit(PriorBank(keys, torch.rand(100, gan.prior_dim)))
    return gan.eval()


def write_inception(folder):
    """Random weights in the published file's layout."""
    from torch_fidelity import feature_extractor_inceptionv3 as library

    load, library.torch.load = library.torch.load, lambda *args, **kwargs: {}
    network_load = torch.nn.Module.load_state_dict
    torch.nn.Module.load_state_dict = lambda self, state, **kwargs: None
    try:
        network = library.FeatureExtractorInceptionV3('inception', ['2048'], 'none')
    finally:
        library.torch.load = load
        torch.nn.Module.load_state_dict = network_load
    file = f'{folder}/inception.pth'
    torch.save(network.state_dict(), file)
    return file


class Features(ReferenceSet):
    """Stands in for real images whose features are known."""

    def __init__(self, split, num, seed):
        self.rows = torch.rand(num, 2048, generator=torch.Generator().manual_seed(seed)) ** 3
        self.split = split

    def features(self, space, mirrored=False):
        """Give the same in every space."""
        return self.rows

    def describe(self, mirrored=True):
        """Say nothing of note."""
        return ImageSet(self.split, len(self.rows))


def measure(args):
    gan = build_gan(args.size).to(choose_device())
    with tempfile.TemporaryDirectory() as folder:
        encoder = dict(type='InceptionEncoder', checkpoint=write_inception(folder))
        evaluator = StandardEvaluator(
            metrics=['fid', 'kid', 'precision_recall', 'copying', 'floor'],
            spaces=dict(clean=encoder),
            fake_nums=args.images,
        )
        evaluator.use_run(None, Features('train', args.real, 1))
    for metric in evaluator.metrics:
        metric.reference = Features('val', args.real, 2)
        metric.prepare(gan, None)
    ends = []
    with torch.no_grad():
        for batch in make_batches(gan, args.timed, args.batch_size, 0, 'ema', None):
            evaluator.process(gan.test_step(batch), batch, evaluator.metrics)
            ends.append(time.perf_counter())  # the first batch warms up
    fraction = (args.timed - args.batch_size) / args.images
    times = {'sampling and encoding': (ends[-1] - ends[0]) / fraction}
    generated = Features('generated', args.images, 3).rows
    for metric in evaluator.metrics:
        metric._features = [generated]
        begin = time.perf_counter()
        metric.evaluate()
        times[type(metric).__name__] = time.perf_counter() - begin
    return times


def main(argv=None):
    args = parse_args(argv)
    times = measure(args)
    base = times['sampling and encoding']
    ratio = sum(times.values()) / base
    for name, seconds in times.items():
        print(f'{name:28}{seconds:10.1f} s')
    print(f'evaluating takes {ratio:.3f} times sampling and encoding (wanted: {WANTED})')
    if args.out:
        write_file(args.out, json.dumps({'seconds': times, 'ratio': ratio}, indent=2) + '\n')


if __name__ == '__main__':
    main()
