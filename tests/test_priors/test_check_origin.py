import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS, MODELS

from disp_plugin.datasets import SeededDraws
from disp_plugin.priors import BankOrigin, PriorBank, build_bank
from disp_plugin.priors.check_origin import describe_dataset_change, describe_encoder_change


@pytest.fixture
def built(image_folder, tmp_path, dataset_cfg, make_encoder):
    """A data set's config and the bank of it."""
    cfg = dataset_cfg(image_folder, tmp_path / 'bank')
    return cfg, build_bank(cfg, make_encoder(), tmp_path / 'bank', progress=False)


def change_of(check, *args):
    with pytest.raises(ValueError) as error:
        check(*args)
    return str(error.value)


def test_same_encoder_passes_built_and_described(built, make_encoder):
    _, bank = built
    encoder = make_encoder()
    assert describe_encoder_change(encoder, bank.origin) == ''
    assert describe_encoder_change(encoder.describe(), bank.origin) == ''
    bank.check_encoder(encoder)
    bank.check_encoder(encoder.describe())


def test_another_layer_is_named(built, make_encoder):
    _, bank = built
    assert change_of(bank.check_encoder, make_encoder(layer='logits')) == (
        f'prior bank {bank.path} holds priors of another encoder: layer is {"logits"!r}, the '
        f"bank's is {'last'!r}. Set the encoder back, or rebuild the bank: python "
        f'tools/build_prior_bank.py CONFIG --bank-file {bank.path} --overwrite (and the '
        '--cfg-options of your run)'
    )


def test_other_weights_are_named_by_a_description(built, make_encoder):
    _, bank = built
    message = change_of(bank.check_encoder, make_encoder(seed=1).describe())
    assert 'another encoder: weights is ' in message
    assert 'layer' not in message


def test_encoder_of_a_config_is_taken_at_its_word_or_built(make_encoder):
    MODELS.register_module(name='TinyEncoderOfTest', module=make_encoder, force=True)
    encoder = make_encoder()
    origin = BankOrigin(
        encoder=encoder.describe(),
        encoder_fingerprint=encoder.fingerprint(),
        encoder_config={'type': 'TinyEncoderOfTest'},
    )
    bank = PriorBank(['a'], torch.ones(1, 6), origin=origin)
    bank.check_encoder({'type': 'TinyEncoderOfTest', '_scope_': 'mmagic'})
    bank.check_encoder({'type': 'TinyEncoderOfTest', 'layer': 'last'})
    message = change_of(bank.check_encoder, {'type': 'TinyEncoderOfTest', 'layer': 'first'})
    assert "layer is 'first', the bank's is 'last'" in message


def test_same_data_set_passes_wrapped_and_not(built):
    cfg, bank = built
    dataset = DATASETS.build(cfg)
    for same in (dataset, SeededDraws(dataset)):
        assert describe_dataset_change(same, bank) == ''
        bank.check_dataset(same)


def test_part_of_the_data_set_passes(built, image_folder):
    cfg, bank = built
    (image_folder / 'part.txt').write_text('a/image_0000.png\nb/image_0003.png\n')
    part = DATASETS.build(dict(cfg, ann_file='part.txt'))
    assert len(part) == 2 < bank.num_images
    assert describe_dataset_change(part, bank) == ''
    bank.check_dataset(part)


def test_what_is_fitted_sees_only_the_images_of_the_run(built, image_folder):
    cfg, bank = built
    assert bank.restrict_to(DATASETS.build(cfg)) is bank
    (image_folder / 'part.txt').write_text('a/image_0000.png\nb/image_0003.png\n')
    part = bank.restrict_to(DATASETS.build(dict(cfg, ann_file='part.txt')))
    assert list(part.keys) == ['a/image_0000.png', 'b/image_0003.png']
    torch.testing.assert_close(part.lookup(part.keys, True), bank.lookup(part.keys, True))
    (image_folder / 'new.png').write_bytes((image_folder / 'a' / 'image_0000.png').read_bytes())
    with pytest.raises(ValueError, match="has no prior for image 'new.png'"):
        bank.restrict_to(DATASETS.build(cfg))


def test_new_images_are_counted_and_named(built, image_folder, make_image_folder):
    cfg, bank = built
    make_image_folder(image_folder / 'c', num=4)
    assert change_of(bank.check_dataset, DATASETS.build(cfg)) == (
        f'prior bank {bank.path} does not match the data set: 4 of 12 images have no prior in it '
        '(c/image_0000.png, c/image_0001.png, c/image_0002.png, ...). Rebuild it: python '
        f'tools/build_prior_bank.py CONFIG --bank-file {bank.path} --overwrite (and the '
        '--cfg-options of your run)'
    )


def test_changed_and_vanished_files_are_named(built, image_folder):
    cfg, bank = built
    dataset = DATASETS.build(cfg)
    dataset.full_init()
    with open(image_folder / 'a' / 'image_0002.png', 'ab') as file:
        file.write(b'x')
    (image_folder / 'b' / 'image_0001.png').unlink()
    message = change_of(bank.check_dataset, dataset)
    assert (
        '1 of 8 images has another file size than when it was built (a/image_0002.png); '
        '1 of 8 images has no file any more (b/image_0001.png). Rebuild'
    ) in message


def test_other_size_of_the_view_is_named_with_its_step(built, image_folder, dataset_cfg):
    _, bank = built
    other = DATASETS.build(dataset_cfg(image_folder, bank.path, size=10))
    assert (
        "Resize (step 3 of the pipeline): scale is [10, 10], the bank's is [12, 12]. Rebuild"
    ) in change_of(bank.check_dataset, other)


def test_other_steps_are_named(built, image_folder, dataset_cfg):
    _, bank = built
    crop = dict(type='Crop', keys=['gt'], crop_size=(8, 8), random_crop=False)
    longer = DATASETS.build(dataset_cfg(image_folder, bank.path, before=[crop]))
    assert 'the pipeline has one step more (Crop)' in change_of(bank.check_dataset, longer)
    shorter = dataset_cfg(image_folder, bank.path)
    del shorter['pipeline'][1]
    message = change_of(bank.check_dataset, DATASETS.build(shorter))
    assert "step 2 of the pipeline is Resize, the bank's is CenterCropLongEdge" in message


def test_flip_of_the_run_needs_flips_in_the_bank(image_folder, tmp_path, dataset_cfg, make_encoder):
    plain = dataset_cfg(image_folder, tmp_path / 'bank', flip=False)
    bank = build_bank(plain, make_encoder(), tmp_path / 'bank', progress=False)
    assert bank.num_views == 1
    flipping = DATASETS.build(dataset_cfg(image_folder, tmp_path / 'bank'))
    message = change_of(bank.check_dataset, flipping)
    assert 'the pipeline flips images, but it holds no priors of flipped images' in message


def test_bank_of_arrays_is_checked_for_keys_only(built, image_folder):
    cfg, bank = built
    PriorBank(list(bank.keys), np.ones((8, 2, 3))).check_dataset(DATASETS.build(cfg))
    with pytest.raises(ValueError, match='1 of 8 images has no prior in it'):
        PriorBank(list(bank.keys)[1:], np.ones((7, 2, 3))).check_dataset(DATASETS.build(cfg))
