import errno
import importlib
import multiprocessing
import os
import shutil
import signal
import threading
import time

import filelock
import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from PIL import Image

from disp_plugin.priors import (
    BankBuild,
    BankInUseError,
    BankWriteError,
    PriorBank,
    Shard,
    build_bank,
    check_encoder,
)

MODULE = importlib.import_module('disp_plugin.priors.build_bank')


class Stop(Exception):
    """What ends a build on purpose."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Parts of one batch, for a few images to make several."""
    monkeypatch.setattr(MODULE, 'PART_IMAGES', 2)
    monkeypatch.setattr(MODULE, 'POLL_SECONDS', 0.01)


@pytest.fixture
def build(image_folder, tmp_path, make_dataset, make_encoder):
    """A function that builds the bank of eight images, in four parts; options as of build_bank."""

    def run(encoder=None, bank_file=tmp_path / 'bank', view=(), **options):
        task = (make_dataset(image_folder, **dict(view)), encoder or make_encoder(), bank_file)
        if 'shard' in options:
            return BankBuild(*task, batch_size=4).run(options['shard'], 0, progress=False)
        if 'wait_seconds' in options:
            return BankBuild(*task, batch_size=4).merge(**options)
        options = {'num_workers': 0, 'batch_size': 4, **options}
        return build_bank(*task, progress=False, **options)

    return run


@pytest.fixture
def whole(build, tmp_path):
    """The bytes of the bank by one process that nobody stops."""
    build(bank_file=tmp_path / 'whole')
    content = (tmp_path / 'whole').read_bytes()
    (tmp_path / 'whole').unlink()
    return content


def interrupt(encoder, num_batches, action):
    """Let an encoder call ``action`` in the middle of a build."""
    left = [num_batches]

    def count():
        left[0] -= 1
        if left[0] < 0:
            action()

    encoder.before_batch = count
    return encoder


def stop_after(encoder, num_batches):
    def stop():
        raise Stop

    return interrupt(encoder, num_batches, stop)


def start(target, *args, **kwargs):
    process = multiprocessing.get_context('fork').Process(target=target, args=args, kwargs=kwargs)
    process.start()
    return process


def test_rows_are_those_of_a_plain_loop(build, image_folder, make_encoder):
    bank, encoder = build(), make_encoder()
    assert (bank.num_images, bank.num_views, bank.prior_dim) == (8, 2, 6)
    for file in sorted(image_folder.rglob('*.png')):
        resized = np.asarray(Image.open(file).resize((12, 12), Image.BICUBIC))
        image = torch.from_numpy(resized / 255.0).permute(2, 0, 1)[None].float()
        key = file.relative_to(image_folder).as_posix()
        for flipped, view in enumerate((image, image.flip(3))):
            found = bank.lookup([key], bool(flipped))
            torch.testing.assert_close(found, encoder(view), rtol=0, atol=1e-6)


def test_bank_names_its_origin(build, make_encoder, image_folder, make_dataset, monkeypatch):
    monkeypatch.setitem(MODELS._module_dict, 'TinyEncoderOfTest', make_encoder)
    cfg, encoder = dict(type='TinyEncoderOfTest', layer='first'), make_encoder(layer='first')
    bank = build(cfg)
    assert bank.origin.encoder == encoder.describe()
    assert bank.origin.encoder_fingerprint == encoder.fingerprint()
    assert bank.origin.encoder_config == cfg
    assert bank.origin.view == make_dataset(image_folder).describe_view()
    assert bank.origin.precision == 'float32'
    assert bank.file_sizes.tolist() == [p.stat().st_size for p in sorted(image_folder.rglob('*.*'))]
    # one that is up to date is opened as it is
    assert build(encoder).fingerprint == bank.fingerprint and encoder.num_seen == 0


def test_type_of_storage_and_of_arithmetic_are_noted(build, make_encoder, tmp_path):
    exact = build().priors
    half = build(bank_file=tmp_path / 'half', dtype='float16')
    assert half.priors.dtype == np.float16
    np.testing.assert_array_equal(half.priors, exact.astype(np.float16))
    encoder = make_encoder()
    encoder.precision = 'bfloat16'
    autocast = build(encoder, bank_file=tmp_path / 'bf16')
    assert autocast.origin.precision == 'bfloat16' and autocast.priors.dtype == np.float32
    np.testing.assert_allclose(autocast.priors, exact, atol=0.05)
    assert not np.array_equal(autocast.priors, exact)


def test_workers_and_order_change_nothing_and_batches_nothing_of_note(build, tmp_path):
    first = build()
    shuffled = dict(indices=[3, 1, 7, 5, 0, 2, 4, 6])
    other = build(bank_file=tmp_path / 'shuffled', view=shuffled)
    assert other.fingerprint == first.fingerprint
    assert build(bank_file=tmp_path / 'two', num_workers=2).fingerprint == first.fingerprint
    small = build(bank_file=tmp_path / 'small', batch_size=1)
    np.testing.assert_allclose(small.priors, first.priors, atol=1e-6)


def test_bank_of_another_encoder_is_kept_unless_it_may_be_replaced(build, make_encoder, tmp_path):
    first = build()
    with pytest.raises(ValueError, match='with other encoder than would be built.*--overwrite'):
        build(make_encoder(seed=1))
    assert PriorBank.open(tmp_path / 'bank').fingerprint == first.fingerprint
    with pytest.raises(ValueError, match='with other data, number of views than'):
        build(view=dict(flip=False, image_size=8))
    check_encoder(build(make_encoder(seed=1), overwrite=True), make_encoder(seed=1))


def test_a_damaged_bank_is_replaced_only_if_it_may_be(build, whole, tmp_path):
    altered = bytearray(whole)
    altered[-60] ^= 1
    for content in (whole[:-1], whole[:300], bytes(altered)):
        (tmp_path / 'bank').write_bytes(content)
        if len(content) < len(whole):
            with pytest.raises(ValueError, match='is truncated.*--overwrite'):
                build()
        build(overwrite=True)
        assert (tmp_path / 'bank').read_bytes() == whole


@pytest.mark.parametrize('overwrite', [False, True])
def test_file_that_is_no_bank_is_not_replaced(overwrite, build, tmp_path):
    (tmp_path / 'bank').write_bytes(b'my precious weights')
    with pytest.raises(ValueError, match='is not a prior bank'):
        build(overwrite=overwrite)
    assert (tmp_path / 'bank').read_bytes() == b'my precious weights'


def test_killed_build_goes_on_and_gives_the_same_bank(build, whole, make_encoder, tmp_path):
    def hang():
        (tmp_path / 'marker').touch()
        time.sleep(3600)

    process = start(build, interrupt(make_encoder(), 2, hang))
    while not (tmp_path / 'marker').exists():
        assert process.is_alive()
        time.sleep(0.01)
    with pytest.raises(BankInUseError, match='another process is building this bank'):
        build()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert sorted(os.listdir(tmp_path)) == ['bank.parts', 'images', 'marker']
    encoder = make_encoder()
    build(encoder)
    assert encoder.num_seen == 8  # images 4 to 7, two views each
    assert (tmp_path / 'bank').read_bytes() == whole
    assert sorted(os.listdir(tmp_path)) == ['bank', 'images', 'marker']


def test_a_damaged_part_is_built_again(build, whole, make_encoder, tmp_path, capsys):
    with pytest.raises(Stop):
        build(stop_after(make_encoder(), 3))
    for number, cut in ((0, None), (2, -3)):
        part = tmp_path / 'bank.parts' / f'part-{number:05d}'
        content = bytearray(part.read_bytes())
        content[-5] ^= 1
        part.write_bytes(bytes(content[:cut]))
    encoder = make_encoder()
    build(encoder)
    assert encoder.num_seen == 12
    assert 'part-00000 of an earlier build is not used: it is damaged' in capsys.readouterr().out
    assert (tmp_path / 'bank').read_bytes() == whole


@pytest.mark.parametrize(
    ('other', 'name'),
    [
        (dict(batch_size=6), 'batch size'),
        (dict(dtype='float16'), 'dtype'),
        (dict(precision='bfloat16'), 'precision'),
        (dict(view=dict(image_size=8)), 'data set'),
        (dict(seed=1), 'encoder'),
    ],
)
def test_parts_of_another_build_are_not_mixed_in(
    build, whole, make_encoder, other, name, tmp_path, capsys
):
    encoder = make_encoder(seed=other.pop('seed', 0))
    encoder.precision = other.pop('precision', 'float32')
    with pytest.raises(Stop):
        build(stop_after(encoder, 2), **other)
    build()
    assert f'is not used: it belongs to another {name}' in capsys.readouterr().out
    assert (tmp_path / 'bank').read_bytes() == whole


def test_all_bad_images_are_reported_before_any_is_encoded(build, image_folder, make_encoder):
    good = (image_folder / 'a' / 'image_0000.png').read_bytes()
    (image_folder / 'cut.png').write_bytes(good[: len(good) // 2])
    (image_folder / 'empty.jpg').write_bytes(b'')
    (image_folder / 'a' / 'image_0000.png').write_text('no picture')
    encoder = make_encoder()
    with pytest.raises(ValueError) as error:
        build(encoder)
    message = str(error.value)
    assert message.startswith('3 of 10 images cannot be read:')
    for name, reason in [
        ('cut.png', 'the file is damaged or cut short'),
        ('empty.jpg', 'the file is empty'),
        ('a/image_0000.png', 'it is not an image of a known format'),
    ]:
        assert f'{image_folder / name}: {reason}' in message
    assert encoder.num_seen == 0
    assert os.listdir(image_folder.parent) == ['images']  # neither bank nor parts


def test_prior_that_is_not_finite_names_its_image(build, image_folder, make_encoder):
    encoder = make_encoder()
    forward, batches = encoder.forward, []

    def spoil(img):
        priors = forward(img)
        batches.append(priors)
        if len(batches) == 3:
            priors[2] = torch.nan
        return priors

    encoder.forward = spoil
    with pytest.raises(ValueError) as error:
        build(encoder)
    bad = image_folder / 'b' / 'image_0003.png'
    assert f'the prior of image {bad} is not finite' in str(error.value)
    assert "the encoder's weights are damaged" in str(error.value)


def test_priors_that_cannot_be_stored_are_said_in_words(build, make_encoder, tmp_path):
    encoder = make_encoder()
    encoder.weight.mul_(1e6)
    with pytest.raises(ValueError, match='is too large for float16; store float32'):
        build(encoder, dtype='float16')
    encoder.prior_dim = 7
    with pytest.raises(ValueError, match=r'gave priors of shape \(2, 6\), but its prior_dim says'):
        build(encoder)
    (tmp_path / 'file').write_text('')
    with pytest.raises(BankWriteError, match='cannot write .*file/bank: .*choose another place'):
        build(bank_file=tmp_path / 'file' / 'bank')


def test_full_disk_is_said_before_the_work(build, tmp_path, monkeypatch):
    usage = type('Usage', (), {'free': 100})
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: usage)
    with pytest.raises(BankWriteError, match='no space left to build the prior bank .* GB are nee'):
        build()
    assert sorted(os.listdir(tmp_path)) == ['images']


def test_disk_that_fills_up_keeps_the_parts(build, make_encoder, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', full)  # of the bank itself
        with pytest.raises(BankWriteError, match=r'no space left to write .*bank; free some'):
            build()
    assert sorted(os.listdir(tmp_path)) == ['bank.parts', 'images']
    encoder = make_encoder()
    build(encoder)
    assert encoder.num_seen == 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(dtype='int8'), "dtype must be 'float32' or 'float16', but is 'int8'"),
        (dict(batch_size=0), 'batch_size must be at least 1, but is 0'),
    ],
)
def test_options_out_of_range_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_a_data_set_that_states_no_view_is_told_to_give_its_folder(tmp_path, make_encoder):
    with pytest.raises(ValueError, match='such as ImageFolderDataset, but list .*--images FOLDER'):
        BankBuild([], make_encoder(), tmp_path / 'bank')


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_bank_of_a_gpu_is_that_of_the_cpu(build, make_encoder, tmp_path):
    on_gpu = build(bank_file=tmp_path / 'gpu', device='cuda')
    np.testing.assert_allclose(on_gpu.priors, build(device='cpu').priors, atol=1e-5)
    encoder = make_encoder()
    encoder.precision = 'auto'
    half = build(encoder, bank_file=tmp_path / 'half', device='cuda')
    np.testing.assert_allclose(half.priors, on_gpu.priors, atol=0.01)


def test_build_leaves_the_random_state_alone(build):
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    build()
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]


@pytest.mark.parametrize('num_parts', [1, 4, 1000])
@pytest.mark.parametrize('count', [1, 3, 100])
def test_shards_leave_no_part_out(num_parts, count):
    parts = [Shard(number, count).take(num_parts) for number in range(1, count + 1)]
    assert [part for taken in parts for part in taken] == list(range(num_parts))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('0/4', 'no shard 0 of 4; shards are counted from 1, as in --shard 1/4'),
        ('5/4', 'no shard 5 of 4'),
        ('2', "must be given as I/N, such as 2/4, but is '2'"),
        ('a/b', "but is 'a/b'"),
    ],
)
def test_shards_that_are_none_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Shard.parse(text)


@pytest.mark.parametrize('order', [[1, 2, 3], [3, 1, 2], [7, 6, 5, 4, 3, 2, 1]])
def test_the_last_shard_writes_the_bank_of_one_process_bit_for_bit(build, whole, tmp_path, order):
    banks = [build(shard=Shard(number, len(order))) for number in order]
    assert banks[0] is None and banks[-1] is not None
    assert (tmp_path / 'bank').read_bytes() == whole
    assert sorted(os.listdir(tmp_path)) == ['bank', 'images']


def test_a_stopped_shard_goes_on_even_with_another_number_of_processes(
    build, whole, make_encoder, tmp_path, capsys
):
    build(shard=Shard(1, 2))
    assert f'{tmp_path / "bank"} will be written by the last to finish (2 parts to come)' in (
        capsys.readouterr().out
    )
    with pytest.raises(Stop):
        build(stop_after(make_encoder(), 1), shard=Shard(2, 2))
    encoder = make_encoder()
    assert build(encoder) is not None
    assert encoder.num_seen == 4
    assert (tmp_path / 'bank').read_bytes() == whole


def test_processes_that_end_together_write_one_bank(build, whole, tmp_path):
    for _ in range(3):
        processes = [start(build, shard=Shard(number, 4)) for number in range(1, 5)]
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
        assert (tmp_path / 'bank').read_bytes() == whole
        assert sorted(os.listdir(tmp_path)) == ['bank', 'images']
        (tmp_path / 'bank').unlink()


def test_bad_images_and_other_sizes_are_those_of_the_share(build, image_folder, tmp_path):
    (image_folder / 'b' / 'image_0007.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'1 of 5 images cannot be read:\n.*0007.png: the file is'):
        build(shard=Shard(2, 2))
    assert os.listdir(tmp_path) == ['images']
    for file in (image_folder / 'b').iterdir():
        Image.new('RGB', (9, 7)).save(file)
    with pytest.raises(ValueError, match=r'0000.png: it is 16x16 \(width x height\) where most'):
        build(shard=Shard(2, 2), view=dict(image_size=None))


def test_parts_are_merged_when_the_last_process_was_killed_before_it_could(
    build, whole, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(MODULE, 'write_bank', lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build()
    assert build(wait_seconds=0).num_images == 8
    assert (tmp_path / 'bank').read_bytes() == whole
    assert build(wait_seconds=0).fingerprint == PriorBank.open(tmp_path / 'bank').fingerprint


def test_merging_names_what_is_missing_after_a_time(build, make_encoder):
    build(shard=Shard(4, 4))
    with pytest.raises(ValueError) as error:
        build(wait_seconds=0.02)
    assert '3 of 4 parts are missing (part-00000, part-00001, part-00002), and none came' in (
        str(error.value)
    )


def test_merging_waits_as_long_as_parts_come(build):
    build(shard=Shard(1, 2))
    later = threading.Timer(0.2, build, kwargs=dict(shard=Shard(2, 2)))
    later.start()
    bank = build(wait_seconds=20)
    later.join()
    assert bank.num_images == 8


def test_a_part_that_is_damaged_before_the_merge_is_deleted_and_said(build, whole, tmp_path):
    build(shard=Shard(1, 2))
    part = tmp_path / 'bank.parts' / 'part-00000'
    content = bytearray(part.read_bytes())
    content[-5] ^= 1
    part.write_bytes(bytes(content))
    with pytest.raises(ValueError, match='part-00000 was damaged and is deleted; run the same'):
        build(shard=Shard(2, 2))
    build()
    assert (tmp_path / 'bank').read_bytes() == whole


@pytest.mark.parametrize(
    'error', [OSError(errno.ENOLCK, 'No locks available'), NotImplementedError('no flock')]
)
def test_a_file_system_without_locks_is_good_enough(
    build, whole, tmp_path, monkeypatch, capsys, error
):
    def refuse(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(filelock.FileLock, 'acquire', refuse)
    assert build(shard=Shard(1, 2)) is None
    assert build(shard=Shard(2, 2)).num_images == 8
    assert (tmp_path / 'bank').read_bytes() == whole
    assert 'cannot be locked' in capsys.readouterr().out
