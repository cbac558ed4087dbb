"""An encoder from a folder of images: it learns, goes on where it stopped, and fails in words."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from disp_plugin.datasets import ImageFolderDataset, SeededDraws, decode_image
from disp_plugin.encoders import CheckpointEncoder
from disp_plugin.encoders.backbone import read_checkpoint
from disp_plugin.encoders.pretrain_encoder import (
    SimCLROptions,
    corrupt_labels,
    pretrain_simclr,
    pretrain_supervised,
)
from disp_plugin.encoders.pretraining_run import (
    ClassificationHead,
    ContrastiveHead,
    PretrainingRun,
    PretrainOptions,
    PretrainSettings,
    TwoViews,
    draw_batches,
    learning_rate_factor,
)
from tests.numerics import assert_close_to_scale

STILL = dict(in_size=16, min_crop=1, flip=False, color_jitter=0, grayscale=0)
TINY = SimCLROptions(
    'timm/resnet10t',
    dict(channels=[8, 8, 16, 16], stem_width=8),
    in_size=16,
    epochs=3,
    batch_size=4,
)
ONE_EPOCH = dataclasses.replace(TINY, epochs=1)
FLAGS = PretrainOptions(
    'timm/resnet10t',
    dict(channels=[8, 8, 8, 8], stem_width=8),
    **{**STILL, 'min_crop': 0.8},
    epochs=8,
    batch_size=16,
    lr=1e-2,
)


def train(folder, out_file, options=TINY, ann_file='', **settings):
    return pretrain_simclr(str(folder), out_file, options, ann_file, PretrainSettings(**settings))


def classify(flags, out_file, corrupted=0.0, options=FLAGS):
    return pretrain_supervised(str(flags[0]), out_file, flags[1], corrupted, options)


@pytest.fixture(scope='module')
def flags(tmp_path_factory):
    """32 images whose upper or lower half is bright, with noise."""
    folder, rng = tmp_path_factory.mktemp('flags'), np.random.default_rng(0)
    labels = {}
    for index in range(32):
        pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        half = slice(0, 8) if index % 2 else slice(8, 16)
        pixels[half] += 120
        Image.fromarray(pixels).save(folder / f'{index:02d}.png')
        labels[f'{index:02d}.png'] = 'upper' if index % 2 else 'lower'
    return folder, labels


@pytest.fixture(scope='module')
def classified(flags, tmp_path_factory):
    return classify(flags, tmp_path_factory.mktemp('clean') / 'encoder.pth')


def same(a, b):
    a, b = (read_checkpoint(file)[0] for file in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Stopped(Exception):
    """Stands for an interrupt."""


@pytest.fixture
def stopped_after_one(image_folder, tmp_path, monkeypatch):
    """The file of a training that was stopped after its first epoch."""
    save = PretrainingRun.save

    def save_and_stop(self, part_file):
        save(self, part_file)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(PretrainingRun, 'save', save_and_stop)
        with pytest.raises(Stopped):
            train(image_folder, tmp_path / 'stopped.pth')
    assert (tmp_path / 'stopped.pth.part').exists()
    assert not (tmp_path / 'stopped.pth').exists()
    return tmp_path / 'stopped.pth'


def test_the_contrastive_loss_is_nt_xent():
    first, second = torch.randn(2, 5, 8).double()
    loss, _ = ContrastiveHead(8, 8, 0.2).judge(first, second, torch.zeros(5))
    z = F.normalize(torch.cat([first, second]))
    total = 0.0
    for i in range(10):
        similar = [math.exp(float(z[i] @ z[k]) / 0.2) for k in range(10) if k != i]
        total -= math.log(math.exp(float(z[i] @ z[(i + 5) % 10]) / 0.2) / sum(similar))
    assert float(loss) == pytest.approx(total / 10, rel=1e-9)


def test_pairs_are_counted():
    head, first = ContrastiveHead(4, 4, 0.2), torch.eye(4)[:3]
    for second, score in ((first * 2, 1), (first.roll(1, 0), 0)):
        assert head.judge(first, second, torch.zeros(3))[1] == score


def test_the_loss_of_classification_is_the_cross_entropy_of_both_views():
    first, second = torch.randn(2, 4, 3).double()
    label = [0, 2, 1, 2]
    loss, score = ClassificationHead(8, 3).judge(first, second, torch.tensor(label))
    scores = np.concatenate([first, second])
    chosen = scores[range(8), label * 2]
    assert np.isclose(loss.item(), (np.log(np.exp(scores).sum(axis=1)) - chosen).mean())
    assert np.isclose(score.item(), (scores.argmax(axis=1) == label * 2).mean())


def draw(images, **changes):
    views = TwoViews(images, PretrainOptions(**{**STILL, **changes}), [7])
    return torch.cat([views[0][0] for _ in range(20)])


@pytest.fixture
def square(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'square.png')
    return ImageFolderDataset(str(tmp_path)), torch.from_numpy(pixels)


def test_views_are_mirrored_only_where_asked_and_else_may_be_the_image(square):
    def is_among(pixels, **changes):
        return any(torch.equal(view, pixels) for view in draw(square[0], **changes))

    assert draw(square[0]).shape == (40, 16, 16, 3) and draw(square[0]).dtype == torch.uint8
    # a crop of the whole area may still change its proportions, but here some are the square
    assert is_among(square[1]) and not is_among(square[1].flip(1))
    assert is_among(square[1].flip(1), flip=True)


def test_colors_stay_unless_they_are_jittered_or_dropped(square):
    still, jittered = (
        draw(square[0], color_jitter=strength).float().mean((1, 2)).std(0).max()
        for strength in (0, 1.0)
    )
    assert still < 2 and jittered > 10
    views = draw(square[0], grayscale=0.5)
    gray = (views[..., :1] == views[..., 1:]).all(-1).all(-1).all(-1).float().mean()
    assert 0.2 < gray < 0.8


def test_a_gray_image_stays_gray_and_is_jittered_in_brightness(tmp_path):
    Image.new('L', (16, 16), 120).save(tmp_path / 'gray.png')
    views = draw(ImageFolderDataset(str(tmp_path)), color_jitter=1.0)
    assert (views[..., :1] == views[..., 1:]).all()
    assert views.float().mean((1, 2, 3)).std() > 10


def test_a_draw_is_the_same_whenever_it_is_made(image_folder):
    images = ImageFolderDataset(str(image_folder))
    views = SeededDraws(TwoViews(images, TINY, list(range(8))), seed=1)
    first, target = views[12]
    torch.rand(5)
    assert torch.equal(views[12][0], first) and target == 4
    assert not torch.equal(views[4][0], first)  # the same image in another epoch
    assert not torch.equal(first[0], first[1])  # two views of one draw


def test_batches_cover_each_epoch_once_in_another_order():
    batches = list(draw_batches(num_images=10, batch_size=3, epochs=range(2), seed=0))
    assert len(batches) == 6
    epochs = [[p for batch in part for p in batch] for part in (batches[:3], batches[3:])]
    assert all(len(set(positions)) == 9 for positions in epochs)
    assert all(0 <= position < 10 for position in epochs[0])
    assert all(10 <= position < 20 for position in epochs[1])
    assert [position - 10 for position in epochs[1]] != epochs[0]
    # an epoch does not depend on where the training began
    assert list(draw_batches(10, 3, range(1, 2), 0)) == batches[3:]


def make_run(**settings):
    settings = PretrainSettings(**{'device': 'cpu', **settings})
    return PretrainingRun(TINY, lambda prior_dim: ContrastiveHead(prior_dim, 8, 0.2), {}, settings)


def make_views():
    return torch.randint(0, 256, (4, 2, 16, 16, 3), dtype=torch.uint8)


def test_the_network_sees_both_views_normalized_and_apart(monkeypatch):
    run, seen, views = make_run(), {}, make_views()
    forward = run.network.forward
    monkeypatch.setattr(run.network, 'forward', lambda x: seen.update(x=x) or forward(x))
    run.step(views, torch.zeros(4), 0.5)
    want = torch.cat([views[:, 0], views[:, 1]]).permute(0, 3, 1, 2).double() / 127.5 - 1
    assert_close_to_scale(seen['x'], want, num_terms=4)


def test_the_learning_rate_rises_and_falls():
    rates = [learning_rate_factor(i / 1000) for i in range(1001)]
    assert rates.index(max(rates)) == 100
    rise, fall = np.linspace(0.05, 1, 101)[:100], 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, 901))
    assert np.allclose(rates, [*rise, *fall])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(in_size=4), 'size must be at least 8, but is 4'),
        (dict(min_crop=0), 'min-crop must be above 0 and at most 1, but is 0'),
        (dict(color_jitter=-1), 'color-jitter must be from 0 to 2, but is -1'),
        (dict(grayscale=2), 'grayscale must be from 0 to 1, but is 2'),
        (dict(rotation=200), 'rotation must be from 0 to 180, but is 200'),
        (dict(shift=1), 'shift must be from 0 to below 1, but is 1'),
        (dict(epochs=0), 'epochs must be at least 1, but is 0'),
        (dict(batch_size=1), 'batch-size must be at least 2 .*several images.*, but is 1'),
        (dict(lr=0), 'lr must be positive, but is 0'),
        (dict(temperature=-1), 'temperature must be positive, but is -1'),
        (dict(seed=-1), 'seed must be at least 0, but is -1'),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SimCLROptions(**options)


def test_a_stopped_training_goes_on_to_the_same_weights_with_any_number_of_workers(
    image_folder, tmp_path, stopped_after_one
):
    whole = train(image_folder, tmp_path / 'whole.pth')
    torch.rand(3)  # the state of the run's own generator must not matter
    stopped = train(image_folder, stopped_after_one, num_workers=2)
    assert same(tmp_path / 'whole.pth', stopped_after_one)
    assert (whole.loss, whole.score) == (stopped.loss, stopped.score)
    assert not list(tmp_path.glob('*.part'))


def test_a_state_of_another_training_is_refused_with_the_difference(
    image_folder, stopped_after_one
):
    other = dataclasses.replace(TINY, epochs=5, flip=False)
    with pytest.raises(ValueError) as caught:
        train(image_folder, stopped_after_one, other)
    assert str(caught.value) == (
        f'{stopped_after_one}.part is the state of another training (flip True instead of False, '
        'epochs 3 instead of 5); give the same options to go on, or begin anew with --no-resume'
    )
    train(image_folder, stopped_after_one, ONE_EPOCH, resume=False)


def test_another_seed_gives_other_weights_and_the_run_s_generator_is_left_alone(
    image_folder, tmp_path
):
    state = torch.get_rng_state()
    train(image_folder, tmp_path / 'a.pth', ONE_EPOCH)
    assert torch.equal(torch.get_rng_state(), state)
    train(image_folder, tmp_path / 'b.pth', dataclasses.replace(ONE_EPOCH, seed=1))
    assert not same(tmp_path / 'a.pth', tmp_path / 'b.pth')


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_the_file_alone_makes_the_encoder(image_folder, tmp_path, suffix, monkeypatch):
    runs = []
    export = PretrainingRun.export
    monkeypatch.setattr(
        PretrainingRun, 'export', lambda *args: runs.append(args[0]) or export(*args)
    )
    out_file = tmp_path / f'encoder.{suffix}'
    result = train(image_folder, out_file, ONE_EPOCH)
    encoder = CheckpointEncoder(checkpoint=str(out_file))
    img = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        want = runs[0].backbone.eval()((img - 0.5) / 0.5)
    assert_close_to_scale(encoder(img), want)
    assert result.prior_dim == encoder.prior_dim == 16
    assert result.num_images == 8
    assert 'ignored' not in encoder.report  # the head is thrown away


def test_a_finished_training_is_not_done_again(image_folder, tmp_path, monkeypatch):
    first = train(image_folder, tmp_path / 'x.pth')
    monkeypatch.setattr(PretrainingRun, 'train', None)
    again = train(image_folder, tmp_path / 'x.pth')
    assert again == dataclasses.replace(first, seconds=0.0)


@pytest.mark.slow
def test_priors_of_digits_that_were_never_seen_tell_their_classes(digits_folder, tmp_path):
    source = sorted((digits_folder / 'source').glob('*.png'))[::2]
    (tmp_path / 'half.txt').write_text('\n'.join(path.name for path in source))
    options = SimCLROptions(
        'timm/resnet10t',
        dict(channels=[16, 32, 64, 128], stem_width=8),
        **{**STILL, 'min_crop': 0.5, 'color_jitter': 0.8},
        rotation=15,
        epochs=6,
        batch_size=64,
        lr=2e-3,
    )
    result = train(
        digits_folder / 'source', tmp_path / 'x.pth', options, ann_file=str(tmp_path / 'half.txt')
    )
    assert result.num_images == len(source)
    unseen = sorted((digits_folder / 'test').glob('*.png'))[::2]
    classes = torch.tensor([int(path.name.split('_')[0]) for path in unseen])
    assert set(classes.tolist()) == {5, 6, 7, 8, 9}
    img = torch.stack([torch.from_numpy(decode_image(path)) for path in unseen])
    img = img.permute(0, 3, 1, 2).float() / 255

    def nearest_has_same_class(**kwargs):
        priors = CheckpointEncoder(checkpoint=str(tmp_path / 'x.pth'), **kwargs)(img)
        priors = torch.nn.functional.normalize(priors - priors.mean(0))
        nearest = (priors @ priors.T).fill_diagonal_(-2).argmax(1)
        return float((classes[nearest] == classes).float().mean())

    trained, untrained = nearest_has_same_class(), nearest_has_same_class(untrained=True)
    assert trained > untrained + 0.05


def test_true_labels_are_learned_and_permuted_ones_of_noise_are_not(flags, classified, tmp_path):
    assert classified.score > 0.9 and classified.loss < 0.4
    corrupted = classify(flags, tmp_path / 'x.pth', 1.0)
    assert corrupted.score < classified.score - 0.15
    assert corrupted.loss > classified.loss + 0.2


def test_a_file_of_something_else_is_not_replaced_unless_asked(image_folder, tmp_path):
    out_file = tmp_path / 'x.pth'
    advice = 'give another name, or replace it with --overwrite'
    out_file.write_bytes(b'dear diary')
    with pytest.raises(ValueError, match=f'x.pth exists and is no encoder; {advice}'):
        train(image_folder, out_file, ONE_EPOCH)
    torch.save({'x': torch.ones(1)}, out_file)
    with pytest.raises(ValueError, match=f'exists and was not made by this tool; {advice}'):
        train(image_folder, out_file, ONE_EPOCH)
    train(image_folder, out_file, ONE_EPOCH, overwrite=True)
    with pytest.raises(ValueError, match=r'of another training \(epochs 1 instead of 3\); give an'):
        train(image_folder, out_file)


def test_a_file_of_other_labels_is_not_taken_for_this_one(flags, classified):
    with pytest.raises(ValueError, match='of another training'):
        classify(flags, classified.file, 0.5)
    folder, labels = flags
    swapped = {key: 'lower' if label == 'upper' else 'upper' for key, label in labels.items()}
    with pytest.raises(ValueError, match=r'other labels'):
        classify((folder, swapped), classified.file)


def test_labels_must_be_there_and_differ(flags, tmp_path):
    folder, labels = flags
    with pytest.raises(ValueError, match=r"1 images have no label, such as '00\.png'"):
        classify((folder, dict(list(labels.items())[1:])), tmp_path / 'x.pth')
    with pytest.raises(ValueError, match="are of one class: 'a'"):
        classify((folder, dict.fromkeys(labels, 'a')), tmp_path / 'x.pth')


def test_a_folder_without_enough_images_is_refused(make_image_folder, tmp_path):
    one = make_image_folder(tmp_path / 'one', num=1)
    with pytest.raises(ValueError, match='holds only 1; it needs at least 2'):
        train(one, tmp_path / 'x.pth')
    few = make_image_folder(tmp_path / 'few', num=3)
    with pytest.raises(ValueError) as caught:
        train(few, tmp_path / 'x.pth')
    assert str(caught.value) == (
        f'batch-size is 4, but {str(few)!r} holds only 3 images; set it to 3 or less'
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ['few', 'one']


def test_all_unreadable_images_are_named_before_the_training(image_folder, tmp_path):
    (image_folder / 'a' / 'bad.png').write_bytes(b'')
    (image_folder / 'worse.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match='2 of 10 images cannot be read') as caught:
        train(image_folder, tmp_path / 'x.pth')
    assert 'a/bad.png: the file is empty' in str(caught.value)
    assert 'worse.jpg: it is not an image' in str(caught.value)
    assert not list(tmp_path.glob('x.pth*'))


def test_a_place_that_cannot_be_written_is_refused_before_the_training(
    image_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(PretrainingRun, 'train', None)
    with pytest.raises(ValueError, match='is a folder; name a file in it'):
        train(image_folder, tmp_path, overwrite=True)


def test_a_loss_that_explodes_is_told_with_a_remedy_that_applies(image_folder, flags, tmp_path):
    options = dataclasses.replace(TINY, lr=1e30)
    with pytest.raises(ValueError, match=r'not finite after epoch \d; .* a higher temperature'):
        train(image_folder, tmp_path / 'x.pth', options)
    with pytest.raises(ValueError, match='not finite after epoch .*lower lr') as diverged:
        classify(flags, tmp_path / 'y.pth', options=dataclasses.replace(FLAGS, lr=1e30))
    assert 'temperature' not in str(diverged.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_a_gpu_trains_in_half_precision_and_encodes_as_a_cpu_does(image_folder, tmp_path):
    views, dtypes = make_views(), []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for amp in (True, False):
            run = make_run(device='cuda', amp=amp)
            run.head.register_forward_hook(lambda head, args, out: dtypes.append(out.dtype))
            loss = run.step(views, torch.zeros(4), 0.5)[0].cpu()
            assert loss.isfinite()
        assert dtypes == [torch.float16, torch.float32]
        assert_close_to_scale(loss, make_run().step(views, torch.zeros(4), 0.5)[0])
        result = train(image_folder, tmp_path / 'x.pth', device='cuda')
        encoder, img = CheckpointEncoder(checkpoint=str(result.file)), torch.rand(3, 3, 16, 16)
        on_cpu = encoder(img)
        assert_close_to_scale(encoder.cuda()(img.cuda()).cpu(), on_cpu)


LABELS = [f'{row % 10}' for row in range(1000)]


def changed(fraction, seed=0):
    corrupted = corrupt_labels(LABELS, fraction, seed)
    assert Counter(corrupted) == Counter(LABELS)
    return {row for row in range(1000) if corrupted[row] != LABELS[row]}


@pytest.mark.parametrize('fraction', [0.0, 0.25, 0.5, 1.0])
def test_a_tenth_of_the_permuted_images_keep_their_label_by_chance(fraction):
    expected = 900 * fraction
    # of a permutation of many, the number of kept labels is about Poisson
    assert abs(len(changed(fraction)) - expected) < 5 * (100 * fraction) ** 0.5 + 1


def test_a_larger_fraction_contains_the_images_of_a_smaller_one_and_the_seed_decides():
    distinct = [str(row) for row in range(100)]
    chosen = [
        {row for row in range(100) if corrupt_labels(distinct, fraction)[row] != distinct[row]}
        for fraction in (0.3, 1.0)
    ]
    assert chosen[0] < chosen[1]
    assert changed(0.5) == changed(0.5) != changed(0.5, seed=1)


@pytest.mark.parametrize('fraction', [-0.1, 1.1, float('nan')])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match='must be from 0 to 1'):
        corrupt_labels(LABELS, fraction)
