"""An encoder from a folder of images: it learns, goes on where it stopped, and fails in words."""

import dataclasses

import pytest
import torch
from PIL import Image

from disp_plugin.datasets import decode_image
from disp_plugin.encoders import CheckpointEncoder
from disp_plugin.encoders.load_weights import read_checkpoint
from disp_plugin.encoders.pretrain_simclr import pretrain_simclr
from disp_plugin.encoders.simclr_run import SimCLROptions, SimCLRRun
from disp_plugin.encoders.simclr_views import ViewOptions

TINY = SimCLROptions(
    'timm/resnet10t',
    dict(channels=[8, 8, 16, 16], stem_width=8),
    ViewOptions(in_size=16),
    epochs=3,
    batch_size=4,
)


def train(folder, out_file, num_workers=0, options=TINY, **kwargs):
    return pretrain_simclr(str(folder), out_file, options, num_workers=num_workers, **kwargs)


def weights(file):
    return read_checkpoint(file)[0]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Stopped(Exception):
    """Stands for an interrupt."""


def train_until_stopped(folder, out_file, monkeypatch, num_epochs=1):
    save = SimCLRRun.save

    def save_and_stop(self, part_file):
        save(self, part_file)
        if self.epoch == num_epochs:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(SimCLRRun, 'save', save_and_stop)
        with pytest.raises(Stopped):
            train(folder, out_file)


def test_a_stopped_training_goes_on_to_the_same_weights_with_any_number_of_workers(
    image_folder, tmp_path, monkeypatch
):
    whole = train(image_folder, tmp_path / 'whole.pth')
    train_until_stopped(image_folder, tmp_path / 'stopped.pth', monkeypatch)
    assert (tmp_path / 'stopped.pth.part').exists()
    assert not (tmp_path / 'stopped.pth').exists()
    torch.rand(3)  # the state of the run's own generator must not matter
    stopped = train(image_folder, tmp_path / 'stopped.pth', num_workers=2)
    assert same(weights(tmp_path / 'whole.pth'), weights(tmp_path / 'stopped.pth'))
    assert (whole.loss, whole.paired) == (stopped.loss, stopped.paired)
    assert not list(tmp_path.glob('*.part'))


def test_another_seed_gives_other_weights_and_the_run_s_generator_is_left_alone(
    image_folder, tmp_path
):
    options = dataclasses.replace(TINY, epochs=1)
    state = torch.get_rng_state()
    train(image_folder, tmp_path / 'a.pth', options=options)
    assert torch.equal(torch.get_rng_state(), state)
    train(image_folder, tmp_path / 'b.pth', options=dataclasses.replace(options, seed=1))
    assert not same(weights(tmp_path / 'a.pth'), weights(tmp_path / 'b.pth'))


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_the_file_alone_makes_the_encoder(image_folder, tmp_path, suffix, monkeypatch):
    runs = []
    export = SimCLRRun.export
    monkeypatch.setattr(SimCLRRun, 'export', lambda *args: runs.append(args[0]) or export(*args))
    out_file = tmp_path / f'encoder.{suffix}'
    result = train(image_folder, out_file, options=dataclasses.replace(TINY, epochs=1))
    encoder = CheckpointEncoder(checkpoint=str(out_file))
    img = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        want = runs[0].backbone.eval()(img * 2 - 1)
    torch.testing.assert_close(encoder(img), want)
    assert result.prior_dim == encoder.prior_dim == 16
    assert result.num_images == 8
    assert encoder.report.ignored == []


def test_a_finished_training_is_not_done_again(image_folder, tmp_path, monkeypatch):
    first = train(image_folder, tmp_path / 'x.pth')
    monkeypatch.setattr(SimCLRRun, 'train', None)
    again = train(image_folder, tmp_path / 'x.pth')
    assert again == dataclasses.replace(first, seconds=0.0)


@pytest.mark.slow
def test_priors_of_digits_that_were_never_seen_tell_their_classes(digits_folder, tmp_path):
    source = sorted((digits_folder / 'source').glob('*.png'))[::2]
    (tmp_path / 'half.txt').write_text('\n'.join(path.name for path in source))
    views = ViewOptions(16, min_crop=0.5, flip=False, color_jitter=0.8, grayscale=0, rotation=15)
    options = SimCLROptions(
        'timm/resnet10t',
        dict(channels=[16, 32, 64, 128], stem_width=8),
        views,
        epochs=6,
        batch_size=64,
        lr=2e-3,
    )
    result = train(
        digits_folder / 'source', tmp_path / 'x.pth', options=options,
        ann_file=str(tmp_path / 'half.txt'),
    )  # fmt: skip
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


def test_a_state_of_another_training_is_refused_with_the_difference(
    image_folder, tmp_path, monkeypatch
):
    train_until_stopped(image_folder, tmp_path / 'x.pth', monkeypatch)
    other = dataclasses.replace(TINY, epochs=5, views=ViewOptions(in_size=16, flip=False))
    with pytest.raises(ValueError) as caught:
        train(image_folder, tmp_path / 'x.pth', options=other)
    assert str(caught.value) == (
        f'{tmp_path}/x.pth.part is the state of another training (epochs 3 instead of 5, flip True '
        'instead of False); give the same options to go on, or begin anew with --no-resume'
    )
    options = dataclasses.replace(other, epochs=1)
    train(image_folder, tmp_path / 'x.pth', options=options, resume=False)


def test_a_damaged_state_is_refused(image_folder, tmp_path):
    (tmp_path / 'x.pth.part').write_bytes(b'no state')
    with pytest.raises(ValueError, match='is not the state of an earlier training, or is damaged'):
        train(image_folder, tmp_path / 'x.pth')


def test_a_file_of_something_else_is_not_replaced_unless_asked(image_folder, tmp_path):
    out_file = tmp_path / 'x.pth'
    advice = 'give another name, or replace it with --overwrite'
    options = dataclasses.replace(TINY, epochs=1)
    out_file.write_bytes(b'dear diary')
    with pytest.raises(ValueError, match=f'x.pth exists and is no encoder; {advice}'):
        train(image_folder, out_file, options=options)
    torch.save({'x': torch.ones(1)}, out_file)
    with pytest.raises(ValueError, match=f'exists and was not made by this tool; {advice}'):
        train(image_folder, out_file, options=options)
    train(image_folder, out_file, options=options, overwrite=True)
    with pytest.raises(ValueError, match=r'of another training \(epochs 1 instead of 3\); give an'):
        train(image_folder, out_file)


def test_a_folder_without_enough_images_is_refused(make_image_folder, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='holds no image'):
        train(tmp_path / 'empty', tmp_path / 'x.pth')
    with pytest.raises(FileNotFoundError, match='does not exist'):
        train(tmp_path / 'nowhere', tmp_path / 'x.pth')
    one = make_image_folder(tmp_path / 'one', num=1)
    with pytest.raises(ValueError, match='holds only 1; it needs at least 2'):
        train(one, tmp_path / 'x.pth')
    few = make_image_folder(tmp_path / 'few', num=3)
    with pytest.raises(ValueError) as caught:
        train(few, tmp_path / 'x.pth')
    assert str(caught.value) == (
        f'batch-size is 4, but {str(few)!r} holds only 3 images; set it to 3 or less'
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ['empty', 'few', 'one']


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
    monkeypatch.setattr(SimCLRRun, 'train', None)
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file'):
        train(image_folder, tmp_path / 'file' / 'x.pth')
    with pytest.raises(ValueError, match='is a folder; name a file in it'):
        train(image_folder, tmp_path, overwrite=True)


def test_a_loss_that_explodes_is_said_in_words(image_folder, tmp_path):
    options = dataclasses.replace(TINY, lr=1e30)
    with pytest.raises(ValueError, match=r'the loss is not finite after epoch \d; train with a lo'):
        train(image_folder, tmp_path / 'x.pth', options=options)


def test_images_of_all_kinds_are_taken(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for mode in ('L', 'RGB', 'RGBA', 'P'):
        Image.new(mode, (20, 30)).save(folder / f'{mode}.png')
    result = train(folder, tmp_path / 'x.pth', options=dataclasses.replace(TINY, epochs=1))
    assert result.num_images == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_a_gpu_trains_in_half_precision_and_encodes_as_a_cpu_does(image_folder, tmp_path):
    result = train(image_folder, tmp_path / 'x.pth', device='cuda')
    assert result.loss == pytest.approx(train(image_folder, tmp_path / 'y.pth').loss, rel=0.1)
    encoder, img = CheckpointEncoder(checkpoint=str(result.file)), torch.rand(3, 3, 16, 16)
    on_cpu = encoder(img)
    torch.testing.assert_close(encoder.cuda()(img.cuda()).cpu(), on_cpu, rtol=1e-2, atol=1e-3)
