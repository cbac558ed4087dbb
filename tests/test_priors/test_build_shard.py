import contextlib
import errno
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

import disp_plugin.encoders  # noqa: F401
from disp_plugin.priors import PriorBank, Shard, build_bank, build_shard, lock_file, merge_shards

build_shard_module = importlib.import_module('disp_plugin.priors.build_shard')

MODULE = sys.modules['disp_plugin.priors.build_shard']
OPTIONS = {'progress': False, 'num_workers': 0, 'batch_size': 4}


class Stop(Exception):
    """What ends a build on purpose."""


@pytest.fixture
def images(tmp_path, make_image_folder):
    """Eleven images: six batches of two images in two views, the last one half full."""
    return make_image_folder(tmp_path / 'images', num=11)


@pytest.fixture
def whole(images, tmp_path, dataset_cfg, make_encoder):
    """The bytes of the bank by one process."""
    build_bank(dataset_cfg(images), make_encoder(), tmp_path / 'whole', **OPTIONS)
    content = (tmp_path / 'whole').read_bytes()
    (tmp_path / 'whole').unlink()
    return content


@pytest.fixture
def build(images, tmp_path, dataset_cfg, make_encoder):
    """A function that builds one shard; options as of build_shard."""

    def run(text, encoder=None, **options):
        cfg, encoder = dataset_cfg(images), encoder or make_encoder()
        options = {**OPTIONS, **options}
        return build_shard(cfg, encoder, tmp_path / 'bank', Shard.parse(text), **options)

    return run


@pytest.fixture
def merge(images, tmp_path, dataset_cfg, make_encoder):
    def run(num_shards, **options):
        options = {'num_workers': 0, 'batch_size': 4, **options}
        return merge_shards(
            dataset_cfg(images), make_encoder(), tmp_path / 'bank', num_shards, **options
        )

    return run


@pytest.mark.parametrize('num_images', [1, 63, 64, 65, 1000])
@pytest.mark.parametrize('count', [1, 2, 3, 7, 100])
def test_shares_are_whole_batches_and_leave_none_out(num_images, count):
    rows = [Shard(n, count).rows(num_images, 16) for n in range(1, count + 1)]
    assert [row for start, stop in rows for row in range(start, stop)] == list(range(num_images))
    assert all(start % 16 == 0 or start == num_images for start, _ in rows)
    lengths = [-(-(stop - start) // 16) for start, stop in rows]
    assert max(lengths) - min(lengths) <= 1


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


@pytest.mark.parametrize('order', [[1, 2, 3], [3, 1, 2]])
def test_the_last_shard_writes_the_bank_of_one_process_bit_for_bit(build, whole, tmp_path, order):
    for number in order[:-1]:
        assert build(f'{number}/3') is None
        assert not (tmp_path / 'bank').exists()
    bank = build(f'{order[-1]}/3')
    assert (tmp_path / 'bank').read_bytes() == whole
    assert bank.num_images == 11
    assert sorted(os.listdir(tmp_path)) == ['bank', 'images']


def test_more_shards_than_batches_are_as_good(build, whole, tmp_path):
    banks = [build(f'{number}/9') for number in range(1, 10)]
    assert (tmp_path / 'bank').read_bytes() == whole
    assert banks[-1] is not None


def test_an_encoder_sees_the_rows_of_the_whole_bank(images, tmp_path, dataset_cfg):
    for number in (1, 2):
        bank = build_shard(
            dataset_cfg(images),
            dict(type='PerImageEncoder', num_images=11),
            tmp_path / 'bank',
            Shard(number, 2),
            **OPTIONS,
        )
    np.testing.assert_array_equal(bank.priors[:, 0], np.eye(11))


def test_what_is_missing_is_said(build, capsys, tmp_path):
    build('2/3')
    assert (
        f'{tmp_path / "bank"} will be written by the last shard to finish (shard 1 of 3 has 0 of 4 '
        'images; shard 3 of 3 has 0 of 3 images)'
    ) in capsys.readouterr().out


def stop_after(encoder, num_batches):
    encode, left = encoder.encode, [num_batches]

    def limited(img, rows):
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        return encode(img, rows)

    encoder.encode = limited
    return encoder


def test_a_stopped_shard_goes_on_where_it_was(build, whole, make_encoder, tmp_path):
    build('1/2')
    with pytest.raises(Stop):
        build('2/2', stop_after(make_encoder(), 1))
    encoder = make_encoder()
    assert build('2/2', encoder) is not None
    assert encoder.num_seen == 6  # images 8 to 10 in two views, not 6 and 7
    assert (tmp_path / 'bank').read_bytes() == whole


def test_processes_at_once_of_which_one_is_killed_and_started_again(
    build, whole, make_encoder, tmp_path
):
    encoder = make_encoder()
    encode = encoder.encode

    def hang(img, rows):
        if int(rows[0]) >= 6:
            (tmp_path / 'marker').touch()
            time.sleep(3600)
        return encode(img, rows)

    encoder.encode = hang
    context = multiprocessing.get_context('fork')
    killed = context.Process(target=build, args=('2/3', encoder))
    others = [context.Process(target=build, args=(f'{number}/3',)) for number in (1, 3)]
    for process in (killed, *others):
        process.start()
    for process in others:
        process.join()
        assert process.exitcode == 0
    while not (tmp_path / 'marker').exists():
        assert killed.is_alive()
        time.sleep(0.01)
    with pytest.raises(ValueError, match=r'another process is building this bank \(.*2-of-3.part'):
        build('2/3')
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    assert not (tmp_path / 'bank').exists()
    encoder = make_encoder()
    assert build('2/3', encoder) is not None
    assert encoder.num_seen == 4
    assert (tmp_path / 'bank').read_bytes() == whole
    (tmp_path / 'marker').unlink()
    assert sorted(os.listdir(tmp_path)) == ['bank', 'images']


def test_processes_that_end_together_write_one_bank(build, whole, tmp_path):
    context = multiprocessing.get_context('fork')
    for _ in range(3):
        processes = [context.Process(target=build, args=(f'{n}/4',)) for n in range(1, 5)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
        assert (tmp_path / 'bank').read_bytes() == whole
        assert sorted(os.listdir(tmp_path)) == ['bank', 'images']
        (tmp_path / 'bank').unlink()


def test_a_damaged_shard_is_built_again_from_its_damage_on(build, whole, make_encoder, tmp_path):
    build('1/2')
    part = tmp_path / 'bank.shard-1-of-2.part'
    content = bytearray(part.read_bytes())
    content[-5] ^= 1
    part.write_bytes(bytes(content))
    assert build('2/2') is None
    encoder = make_encoder()
    assert build('1/2', encoder) is not None
    assert encoder.num_seen == 4
    assert (tmp_path / 'bank').read_bytes() == whole


@pytest.mark.parametrize('other', [dict(batch_size=6), dict(dtype='float16'), dict(amp='bfloat16')])
def test_shards_of_other_options_are_not_mixed(build, other, tmp_path):
    build('1/2', **other)
    assert build('2/2') is None
    assert not (tmp_path / 'bank').exists()
    assert build('1/2') is not None


def test_workers_that_linger_do_not_hold_a_shard(build, whole, tmp_path):
    context = multiprocessing.get_context('fork')
    real, lingering = MODULE.encode_part, []

    @contextlib.contextmanager
    def with_a_child(*args):
        with real(*args) as partial:
            lingering.append(context.Process(target=time.sleep, args=(3600,)))
            lingering[-1].start()  # has the open file as well, and with it its lock
            yield partial

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MODULE, 'encode_part', with_a_child)
            build('1/2')
            assert build('2/2') is not None
    finally:
        for process in lingering:
            process.kill()
    assert (tmp_path / 'bank').read_bytes() == whole


def test_a_bank_that_is_there_is_not_built_again(build, make_encoder, tmp_path):
    build('1/2'), build('2/2')
    encoder = make_encoder()
    assert build('1/2', encoder).num_images == 11
    assert encoder.num_seen == 0
    with pytest.raises(ValueError, match='with other encoder than would be built.*--overwrite'):
        build('1/2', make_encoder(seed=1))
    assert build('1/2', make_encoder(seed=1), overwrite=True) is None
    build('2/2', make_encoder(seed=1), overwrite=True).check_encoder(make_encoder(seed=1))


def test_bad_images_are_those_of_the_share(build, images, make_encoder, tmp_path):
    for number in (0, 9, 10):
        (images / f'image_{number:04d}.png').write_bytes(b'')
    encoder = make_encoder()
    with pytest.raises(ValueError, match='2 of 5 images cannot be read:') as error:
        build('2/2', encoder)
    assert 'image_0009.png: the file is empty' in str(error.value)
    with pytest.raises(ValueError, match='1 of 6 images cannot be read:'):
        build('1/2', encoder)
    assert encoder.num_seen == 0
    assert os.listdir(tmp_path) == ['images']


def test_shares_with_images_of_other_sizes_are_noticed(images, tmp_path, dataset_cfg, make_encoder):
    for number in range(6, 11):
        Image.new('RGB', (9, 7)).save(images / f'image_{number:04d}.png')
    cfg = dataset_cfg(images)
    del cfg['pipeline'][1:3]  # neither crop nor resize
    with pytest.raises(ValueError, match=r'0000.png 16x16 \(width x height\), but .*0006.png 9x7'):
        build_shard(cfg, make_encoder(), tmp_path / 'bank', Shard(2, 2), **OPTIONS)


def test_shards_are_merged_when_the_last_process_was_killed_before_it_could(
    build, merge, whole, tmp_path, monkeypatch
):
    build('1/2')
    with monkeypatch.context() as patch:
        patch.setattr(MODULE, 'write_bank', lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build('2/2')
    assert sorted(os.listdir(tmp_path)) == [
        'bank.shard-1-of-2.part', 'bank.shard-2-of-2.part', 'images',
    ]  # fmt: skip
    assert merge(2).num_images == 11
    assert (tmp_path / 'bank').read_bytes() == whole
    assert merge(2).fingerprint == PriorBank.open(tmp_path / 'bank').fingerprint


def test_merging_names_what_is_missing_after_a_time(build, merge, make_encoder):
    build('3/3')
    with pytest.raises(Stop):
        build('2/3', stop_after(make_encoder(), 1))
    with pytest.raises(ValueError) as error:
        merge(3)
    assert (
        'shard 1 of 3 has 0 of 4 images; shard 2 of 3 has 2 of 4 images. Start those again, with '
        'the same options and --shard I/3'
    ) in str(error.value)


def test_merging_waits_as_long_as_shards_grow(build, merge, monkeypatch):
    monkeypatch.setattr(MODULE, 'POLL_SECONDS', 0.01)
    build('1/2')
    later = threading.Timer(0.2, build, args=('2/2',))
    later.start()
    bank = merge(2, wait_seconds=20)
    later.join()
    assert bank.num_images == 11


def forbid_locks(monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock_file.fcntl, 'flock', flock)


def test_shards_are_merged_on_a_file_system_without_locks(
    build, whole, tmp_path, monkeypatch, capsys
):
    forbid_locks(monkeypatch)
    assert build('1/2') is None
    assert build('2/2').num_images == 11
    assert (tmp_path / 'bank').read_bytes() == whole
    assert sorted(os.listdir(tmp_path)) == ['bank', 'images']
    said = capsys.readouterr().out
    assert said.count('cannot be locked (No locks available): do not start a second build') == 1
    assert said.count('leave no bank, write it with --merge 2') == 1


def test_a_merge_by_another_process_at_the_same_moment_without_locks_is_taken(
    build, merge, whole, tmp_path, monkeypatch
):
    forbid_locks(monkeypatch)
    build('1/2')
    describe, calls = build_shard_module._describe_missing, []

    def merge_meanwhile(plan, count):
        missing = describe(plan, count)
        calls.append(missing)
        if len(calls) == 1:
            merge(2)
        return missing

    monkeypatch.setattr(build_shard_module, '_describe_missing', merge_meanwhile)
    assert build('2/2').num_images == 11
    assert calls[:2] == [[], []]  # of each before the other had merged
    assert (tmp_path / 'bank').read_bytes() == whole
    assert sorted(os.listdir(tmp_path)) == ['bank', 'images']
