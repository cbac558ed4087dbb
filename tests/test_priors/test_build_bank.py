import errno
import json
import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS, MODELS
from mmengine import Config
from PIL import Image

import disp_plugin.encoders  # noqa: F401
from disp_plugin.datasets import SeededDraws
from disp_plugin.priors import PriorBank, build_bank
from disp_plugin.priors.bank_file import BankWriteError
from disp_plugin.priors.build_plan import choose_amp


class Stop(Exception):
    """What ends a build on purpose."""


@pytest.fixture
def build(image_folder, tmp_path, dataset_cfg, make_encoder):
    """A function that builds the bank of the image folder; options as of build_bank."""

    def run(encoder=None, bank_file=tmp_path / 'bank', flip=True, **options):
        cfg = dataset_cfg(image_folder, bank_file, flip=flip)
        options = {'progress': False, 'num_workers': 0, 'batch_size': 4, **options}
        return build_bank(cfg, encoder or make_encoder(), bank_file, **options)

    return run


def test_rows_are_those_of_a_plain_loop(build, image_folder, make_encoder):
    bank, encoder = build(), make_encoder()
    assert (bank.num_images, bank.num_views, bank.prior_dim) == (8, 2, 6)
    for file in sorted(image_folder.rglob('*.png')):
        resized = np.asarray(Image.open(file).resize((12, 12), Image.BILINEAR))
        image = torch.from_numpy(resized / 255.0).permute(2, 0, 1)[None].float()
        key = file.relative_to(image_folder).as_posix()
        for flipped, view in enumerate((image, image.flip(3))):
            found = bank.lookup([key], bool(flipped))
            torch.testing.assert_close(found, encoder(view), rtol=0, atol=1e-6)


def test_data_set_may_be_a_config_of_a_run_wrapped_or_built(
    build, image_folder, tmp_path, dataset_cfg, make_encoder
):
    expected = build()
    inner = dataset_cfg(image_folder, 'none')
    wrapped = dict(type='SeededDraws', dataset=inner, seed=0)
    run = Config(dict(train_dataloader=dict(batch_size=2, dataset=wrapped)))
    for number, form in enumerate((run, wrapped, SeededDraws(DATASETS.build(inner)))):
        bank = build_bank(form, make_encoder(), tmp_path / f'{number}', 4, progress=False)
        assert bank.fingerprint == expected.fingerprint
    with pytest.raises(ValueError, match='has neither train_dataloader.dataset nor'):
        build_bank(dict(data_root='x'), make_encoder(), tmp_path / 'x')


def test_bank_names_its_origin(build, make_encoder):
    bank, encoder = build(), make_encoder()
    assert bank.origin.encoder == encoder.describe()
    assert bank.origin.encoder_fingerprint == encoder.fingerprint()
    assert bank.origin.encoder_config is None
    assert [step['type'] for step in bank.origin.pipeline] == [
        'LoadTrainingImage', 'CenterCropLongEdge', 'Resize',
    ]  # fmt: skip
    assert bank.origin.precision == 'float32'


def test_encoder_of_a_config_is_built_and_kept_in_the_bank(build):
    cfg = dict(type='PerImageEncoder', num_images=8, scale=2.0)
    bank = build(cfg)
    assert bank.origin.encoder_config == cfg
    for view in (False, True):
        torch.testing.assert_close(bank.lookup(list(bank.keys), view), 2 * torch.eye(8))
    bank.check_encoder(MODELS.build(cfg))


def test_priors_can_be_stored_as_float16(build, tmp_path):
    half = build(bank_file=tmp_path / 'half', dtype='float16')
    assert half.priors.dtype == np.float16
    np.testing.assert_array_equal(half.priors, build().priors.astype(np.float16))


def test_workers_change_nothing(build, tmp_path):
    assert build(bank_file=tmp_path / 'two', num_workers=2).fingerprint == build().fingerprint


def test_batch_size_changes_nothing_of_note(build, tmp_path):
    small = build(bank_file=tmp_path / 'small', batch_size=1)
    np.testing.assert_allclose(small.priors, build(batch_size=100).priors, atol=1e-6)


def test_up_to_date_bank_is_not_built_again(build, make_encoder, tmp_path):
    before = (build(), (tmp_path / 'bank').stat().st_mtime_ns)[1]
    encoder = make_encoder()
    build(encoder)
    assert encoder.num_seen == 0
    assert (tmp_path / 'bank').stat().st_mtime_ns == before


def test_bank_of_another_encoder_is_kept_unless_it_may_be_replaced(build, make_encoder, tmp_path):
    first = build()
    with pytest.raises(ValueError, match='with other encoder than would be built.*--overwrite'):
        build(make_encoder(seed=1))
    assert PriorBank.open(tmp_path / 'bank').fingerprint == first.fingerprint
    second = build(make_encoder(seed=1), overwrite=True)
    assert second.fingerprint != first.fingerprint
    second.check_encoder(make_encoder(seed=1))


def test_a_damaged_bank_is_replaced_only_if_it_may_be(build, tmp_path):
    whole = build().fingerprint
    (tmp_path / 'bank').write_bytes((tmp_path / 'bank').read_bytes()[:-1])
    with pytest.raises(ValueError, match='is truncated.*--overwrite'):
        build()
    assert build(overwrite=True).fingerprint == whole


@pytest.mark.parametrize('name', ['priors', 'key_bytes', 'file_sizes', 'key_table', 'checksums'])
def test_a_bank_with_an_altered_block_is_replaced_if_it_may_be(build, tmp_path, name):
    whole = build().fingerprint
    content = bytearray((tmp_path / 'bank').read_bytes())
    start = 8 + int.from_bytes(content[:8], 'little')
    end = json.loads(content[8:start])[name]['data_offsets'][1]
    content[start + end - 5] ^= 1
    (tmp_path / 'bank').write_bytes(content)
    bank = build(overwrite=True)
    bank.verify()
    assert bank.fingerprint == whole
    assert PriorBank.open(tmp_path / 'bank').fingerprint == whole


def test_a_bank_cut_within_its_header_is_replaced_if_it_may_be(build, tmp_path):
    whole = build().fingerprint
    (tmp_path / 'bank').write_bytes((tmp_path / 'bank').read_bytes()[:300])
    with pytest.raises(ValueError, match='300 bytes, fewer than its header.*--overwrite'):
        build()
    assert build(overwrite=True).fingerprint == whole


@pytest.mark.parametrize('overwrite', [False, True])
def test_file_that_is_no_bank_is_not_replaced(overwrite, build, tmp_path):
    (tmp_path / 'bank').write_bytes(b'my precious weights')
    with pytest.raises(ValueError, match='is not a prior bank'):
        build(overwrite=overwrite)
    assert (tmp_path / 'bank').read_bytes() == b'my precious weights'


def stop_after(encoder, num_batches):
    """Let an encoder raise in the middle of a build."""
    encode, left = encoder.encode, [num_batches]

    def limited(img, rows):
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        return encode(img, rows)

    encoder.encode = limited
    return encoder


def test_stopped_build_goes_on_and_gives_the_same_bank(build, make_encoder, tmp_path):
    whole = build(bank_file=tmp_path / 'whole')
    with pytest.raises(Stop):
        build(stop_after(make_encoder(), 3))
    assert not (tmp_path / 'bank').exists()
    encoder = make_encoder()
    bank = build(encoder)
    assert encoder.num_seen == 4  # images 6 and 7, two views each
    assert (tmp_path / 'bank').read_bytes() == (tmp_path / 'whole').read_bytes()
    assert bank.fingerprint == whole.fingerprint
    assert not (tmp_path / 'bank.part').exists()


def test_rows_of_a_stopped_build_are_not_mixed_with_another_encoder(build, make_encoder, tmp_path):
    with pytest.raises(Stop):
        build(stop_after(make_encoder(seed=1), 3))
    bank = build()
    whole = build(bank_file=tmp_path / 'whole')
    assert bank.fingerprint == whole.fingerprint


def hang_in_batch(encoder, number, marker):
    """Let an encoder wait for ever in the middle of a build, and say when it is there."""
    encode, left = encoder.encode, [number]

    def hanging(img, rows):
        left[0] -= 1
        if not left[0]:
            marker.touch()
            time.sleep(3600)
        return encode(img, rows)

    encoder.encode = hanging
    return encoder


def test_killed_build_goes_on_and_gives_the_same_bank(build, make_encoder, tmp_path):
    whole = build(bank_file=tmp_path / 'whole')
    encoder = hang_in_batch(make_encoder(), 3, tmp_path / 'marker')
    process = multiprocessing.get_context('fork').Process(target=build, args=(encoder,))
    process.start()
    while not (tmp_path / 'marker').exists():
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / 'bank').exists()
    encoder = make_encoder()
    bank = build(encoder)
    assert encoder.num_seen == 8  # images 4 to 7, two views each
    assert bank.fingerprint == whole.fingerprint
    assert (tmp_path / 'bank').read_bytes() == (tmp_path / 'whole').read_bytes()


def test_all_bad_images_are_reported_before_any_is_encoded(build, image_folder, make_encoder):
    good = (image_folder / 'a' / 'image_0000.png').read_bytes()
    (image_folder / 'cut.png').write_bytes(good[: len(good) // 2])
    (image_folder / 'empty.jpg').write_bytes(b'')
    (image_folder / 'a' / 'text.png').write_text('no picture')
    encoder = make_encoder()
    with pytest.raises(ValueError) as error:
        build(encoder)
    message = str(error.value)
    assert message.startswith('3 of 11 images cannot be read:')
    for name, reason in [
        ('cut.png', 'the file is damaged or cut short'),
        ('empty.jpg', 'the file is empty'),
        ('a/text.png', 'it is not an image of a known format'),
    ]:
        assert f'{image_folder / name}: {reason}' in message
    assert encoder.num_seen == 0
    assert os.listdir(image_folder.parent) == ['images']  # neither bank nor partial file


def test_bad_first_image_is_reported_like_any_other(build, image_folder):
    (image_folder / 'a' / 'image_0000.png').write_bytes(b'')
    (image_folder / 'b' / 'image_0007.png').write_bytes(b'')
    with pytest.raises(ValueError, match='2 of 8 images cannot be read'):
        build()


def test_odd_kinds_of_images_are_encoded(build, image_folder):
    pixels = Image.open(image_folder / 'a' / 'image_0000.png')
    pixels.convert('L').save(image_folder / 'gray.png')
    pixels.convert('RGBA').save(image_folder / 'alpha.png')
    pixels.convert('CMYK').save(image_folder / 'cmyk.jpg')
    pixels.convert('P').save(image_folder / 'palette.gif')
    wide = np.asarray(pixels.convert('L')).astype(np.uint16) * 257
    Image.fromarray(wide).save(image_folder / 'wide.png')
    bank = build()
    assert bank.num_images == 13
    torch.testing.assert_close(*bank.lookup(['gray.png', 'wide.png']), atol=0.02, rtol=0)


def test_images_of_different_sizes_are_reported_together(
    image_folder, tmp_path, dataset_cfg, make_encoder
):
    for name, size in [('wide.png', (9, 7)), ('tall.png', (7, 9))]:
        Image.new('RGB', size).save(image_folder / name)
    cfg = dataset_cfg(image_folder, tmp_path / 'bank')
    del cfg['pipeline'][1:3]  # neither crop nor resize
    with pytest.raises(ValueError) as error:
        build_bank(cfg, make_encoder(), tmp_path / 'bank', progress=False)
    assert '2 of 10 images' in str(error.value)
    assert 'wide.png: it is 9x7 (width x height) behind the pipeline' in str(error.value)
    assert 'most images are 16x16; add a crop or Resize' in str(error.value)


def test_random_pipeline_is_refused(image_folder, tmp_path, dataset_cfg, make_encoder):
    crop = dict(type='RandomResizedCrop', keys=['gt'], crop_size=8)
    cfg = dataset_cfg(image_folder, tmp_path / 'bank', before=[crop])
    with pytest.raises(ValueError, match='draws at random before LoadPrior: RandomResizedCrop'):
        build_bank(cfg, make_encoder(), tmp_path / 'bank')
    assert os.listdir(tmp_path) == ['images']


def test_prior_that_is_not_finite_names_its_image(build, image_folder, make_encoder, tmp_path):
    encoder = make_encoder()
    encode = encoder.encode
    encoder.encode = lambda img, rows: torch.where(rows[:, None] == 5, torch.nan, encode(img, rows))
    with pytest.raises(ValueError) as error:
        build(encoder)
    assert f'the prior of image {image_folder / "b" / "image_0003.png"} is not finite' in str(
        error.value
    )
    assert "the encoder's weights are damaged" in str(error.value)


def test_prior_too_large_for_float16_says_so(build, make_encoder):
    encoder = make_encoder()
    encoder.weight.mul_(1e6)
    with pytest.raises(
        ValueError, match='is not finite: it is too large for float16; store float32'
    ):
        build(encoder, dtype='float16')


def test_encoder_that_breaks_its_word_on_prior_dim_is_named(build, make_encoder):
    encoder = make_encoder()
    encoder.prior_dim = 7
    with pytest.raises(ValueError, match=r'gave priors of shape \(2, 6\), but its prior_dim says'):
        build(encoder)


def test_one_image_makes_a_bank(tmp_path, make_image_folder, dataset_cfg, make_encoder):
    folder = make_image_folder(tmp_path / 'one', num=1)
    cfg = dataset_cfg(folder, tmp_path / 'bank')
    bank = build_bank(cfg, make_encoder(), tmp_path / 'bank', progress=False)
    assert (bank.num_images, bank.num_views) == (1, 2)


def test_full_disk_is_said_before_the_work(build, tmp_path, monkeypatch):
    usage = type('Usage', (), {'free': 100})
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: usage)
    with pytest.raises(BankWriteError, match='no space left to build the prior bank .* GB are nee'):
        build()
    assert sorted(os.listdir(tmp_path)) == ['images']


def test_disk_that_fills_up_keeps_the_rows(build, make_encoder, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', full)
        with pytest.raises(BankWriteError, match=r'no space left to write .*bank.part; free some'):
            build()
    assert sorted(os.listdir(tmp_path)) == ['bank.part', 'images']
    encoder = make_encoder()
    build(encoder)
    assert encoder.num_seen == 0


def test_folder_that_cannot_be_made_is_said_in_words(build, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(BankWriteError, match='cannot write .*file/bank: .*choose another place'):
        build(bank_file=tmp_path / 'file' / 'bank')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(dtype='int8'), "dtype must be 'float32' or 'float16', but is 'int8'"),
        (dict(batch_size=0), 'batch_size must be at least 1, but is 0'),
        (dict(amp='float8'), "amp must be a bool, 'float16' or 'bfloat16', but is 'float8'"),
    ],
)
def test_options_out_of_range_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_autocast_is_for_gpus_and_is_noted(build, tmp_path):
    assert choose_amp(None, torch.device('cpu')) is None
    assert choose_amp(None, torch.device('cuda')) is torch.float16
    bank = build(bank_file=tmp_path / 'bf16', amp='bfloat16')
    assert bank.origin.precision == 'bfloat16'
    assert bank.priors.dtype == np.float32
    exact = build().priors
    np.testing.assert_allclose(bank.priors, exact, atol=0.05)
    assert not np.array_equal(bank.priors, exact)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_bank_of_a_gpu_is_that_of_the_cpu(build, tmp_path):
    on_gpu = build(bank_file=tmp_path / 'gpu', device='cuda', amp=False)
    np.testing.assert_allclose(on_gpu.priors, build(device='cpu').priors, atol=1e-5)
    half = build(bank_file=tmp_path / 'half', device='cuda')
    np.testing.assert_allclose(half.priors, on_gpu.priors, atol=0.01)


def test_build_leaves_the_random_state_alone(build):
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    PriorBank.open(build().path)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]
