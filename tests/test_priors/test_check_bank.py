import numpy as np
import pytest
import torch
from mmagic.registry import MODELS

from disp_plugin.datasets import SeededDraws
from disp_plugin.priors import (
    BankOrigin,
    PriorBank,
    build_bank,
    check_dataset,
    check_encoder,
    list_images,
)
from disp_plugin.priors.check_bank import hash_dataset


@pytest.fixture
def bank(image_folder, tmp_path, make_dataset, make_encoder):
    return build_bank(make_dataset(image_folder), make_encoder(), tmp_path / 'bank', progress=False)


def change_of(check, *args):
    with pytest.raises(ValueError) as error:
        check(*args)
    return str(error.value)


def test_another_encoder_is_named(bank, make_encoder):
    check_encoder(bank, make_encoder())
    message = change_of(check_encoder, bank, make_encoder(seed=1))
    assert 'another encoder: weights is ' in message and 'layer' not in message
    assert change_of(check_encoder, bank, make_encoder(layer='logits')) == (
        f'prior bank {bank.path} holds priors of another encoder: layer is {"logits"!r}, the '
        f"bank's is {'last'!r}. Set the encoder back, or rebuild the bank: python "
        f'tools/build_prior_bank.py CONFIG --bank-file {bank.path} --overwrite (and the '
        '--cfg-options of your run)'
    )


def test_encoder_of_a_config_is_taken_at_its_word_or_built(make_encoder, monkeypatch):
    monkeypatch.setitem(MODELS._module_dict, 'TinyEncoderOfTest', make_encoder)
    encoder = make_encoder()
    origin = BankOrigin(
        encoder=encoder.describe(),
        encoder_fingerprint=encoder.fingerprint(),
        encoder_config={'type': 'NobodyBuildsIt', 'size': [8, 8]},
    )
    bank = PriorBank(['a'], torch.ones(1, 6), origin=origin)
    check_encoder(bank, {'type': 'NobodyBuildsIt', 'size': (8, 8), '_scope_': 'mmagic'})
    check_encoder(bank, {'type': 'TinyEncoderOfTest', 'layer': 'last'})
    message = change_of(check_encoder, bank, {'type': 'TinyEncoderOfTest', 'layer': 'first'})
    assert "layer is 'first', the bank's is 'last'" in message


def test_a_part_of_the_data_set_passes_and_alone_is_fitted_to(bank, image_folder, make_dataset):
    dataset = make_dataset(image_folder)
    check_dataset(bank, dataset)
    check_dataset(bank, SeededDraws(dataset))
    assert bank.restrict_to(list_images(dataset).keys) is bank
    (image_folder / 'part.txt').write_text('a/image_0000.png\nb/image_0003.png\n')
    dataset = make_dataset(image_folder, ann_file='part.txt')
    check_dataset(bank, dataset)
    part = bank.restrict_to(dataset.image_keys)
    assert part.keys == ['a/image_0000.png', 'b/image_0003.png']
    torch.testing.assert_close(part.lookup(part.keys, True), bank.lookup(part.keys, True))


def test_new_images_are_counted_and_named(bank, image_folder, make_dataset, make_image_folder):
    make_image_folder(image_folder / 'c', num=4)
    assert change_of(check_dataset, bank, make_dataset(image_folder)) == (
        f'prior bank {bank.path} does not match the data set: 4 of 12 images have no prior in it '
        '(c/image_0000.png, c/image_0001.png, c/image_0002.png, ...). Rebuild it: python '
        f'tools/build_prior_bank.py CONFIG --bank-file {bank.path} --overwrite (and the '
        '--cfg-options of your run)'
    )


def test_changed_and_vanished_files_are_named(bank, image_folder, make_dataset):
    dataset = make_dataset(image_folder)
    with open(image_folder / 'a' / 'image_0002.png', 'ab') as file:
        file.write(b'x')
    (image_folder / 'b' / 'image_0001.png').unlink()
    message = change_of(check_dataset, bank, dataset)
    assert (
        '1 of 8 images has another file size than when it was built (a/image_0002.png); '
        '1 of 8 images has no file any more (b/image_0001.png). Rebuild'
    ) in message


def test_another_view_is_named(bank, image_folder, tmp_path, make_dataset, make_encoder):
    plain = make_dataset(image_folder, flip=False)
    one_view = build_bank(plain, make_encoder(), tmp_path / 'plain', progress=False)
    check_dataset(one_view, plain)
    message = change_of(check_dataset, one_view, make_dataset(image_folder))
    assert 'the data set flips images, but it holds no priors of flipped images' in message
    other = make_dataset(image_folder, image_size=10, crop='none')
    message = change_of(check_dataset, bank, other)
    assert "crop is 'none', the bank's is 'center', image_size is 10, the bank's is 12" in message


def test_bank_of_arrays_is_checked_for_keys_only(bank, image_folder, make_dataset):
    dataset = make_dataset(image_folder)
    check_dataset(PriorBank(bank.keys, np.ones((8, 2, 3))), dataset)
    with pytest.raises(ValueError, match='1 of 8 images has no prior in it'):
        check_dataset(PriorBank(bank.keys[1:], np.ones((7, 2, 3))), dataset)


def test_the_hash_of_a_data_set_follows_view_keys_and_sizes():
    sizes = np.array([5, 6])
    first = hash_dataset({'image_size': 8}, ['a', 'b'], sizes)
    others = [
        hash_dataset({'image_size': 9}, ['a', 'b'], sizes),
        hash_dataset({'image_size': 8}, ['a', 'c'], sizes),
        hash_dataset({'image_size': 8}, ['a', 'b'], sizes + 1),
    ]
    assert len({first, *others}) == 4


def test_checkpoint_trained_anew_under_its_name_is_noticed(tmp_path, make_encoder, monkeypatch):
    file = tmp_path / 'encoder.pth'
    file.write_bytes(b'weights')
    config = {'type': 'TinyEncoderWithFile', 'checkpoint': str(file)}

    def build(checkpoint, seed=1):
        return make_encoder(seed=seed)

    monkeypatch.setitem(MODELS._module_dict, 'TinyEncoderWithFile', build)
    old = make_encoder(seed=0)
    origin = BankOrigin(
        encoder=old.describe(), encoder_fingerprint=old.fingerprint(), encoder_config=config
    )
    bank = PriorBank(['a'], torch.ones(1, 6), origin=origin)
    assert 'another encoder' in change_of(check_encoder, bank, config)
    file.unlink()
    check_encoder(bank, config)  # the bank has come without its encoder


def test_priors_of_two_precisions_are_not_mixed_and_auto_takes_the_banks(
    image_folder, make_dataset, tmp_path
):
    cfg = dict(
        type='CheckpointEncoder', arch='timm/resnet10t', untrained=True, in_size=32,
        arch_kwargs=dict(channels=(8, 16, 32, 64), stem_width=8),
    )  # fmt: skip
    other = cfg | dict(precision='bfloat16')
    bank = build_bank(make_dataset(image_folder), other, tmp_path / 'bank', progress=False)
    check_encoder(bank, cfg | dict(precision='auto'))
    with pytest.raises(ValueError, match="precision is 'float32', the bank's is 'bfloat16'"):
        check_encoder(bank, cfg)
