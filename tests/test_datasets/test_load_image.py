import numpy as np
import pytest
from mmagic.datasets.transforms import LoadImageFromFile
from mmagic.registry import TRANSFORMS
from PIL import Image

from disp_plugin.datasets import BadImageError


@pytest.fixture
def load():
    return TRANSFORMS.build({'type': 'LoadTrainingImage', '_scope_': 'mmagic'})


def test_it_leaves_the_same_results_as_the_loader_of_mmagic(image_folder, load):
    path = str(image_folder / 'a' / 'image_0000.png')
    ours = load({'gt_path': path})
    theirs = LoadImageFromFile(key='gt')({'gt_path': path})
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)
    assert ours['gt'].dtype == np.uint8 and ours['gt'].flags.c_contiguous


def test_another_key_is_loaded_from_its_own_path(image_folder):
    load = TRANSFORMS.build({'type': 'LoadTrainingImage', 'key': 'img', '_scope_': 'mmagic'})
    results = load({'img_path': str(image_folder / 'a' / 'image_0000.png')})
    assert results['img'].shape == results['ori_img_shape'] == (16, 16, 3)


def test_16_bit_gray_is_loaded_by_the_one_decoder(tmp_path, load):
    Image.fromarray(np.full((4, 4), 257 * 100, np.uint16)).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(load({'gt_path': str(tmp_path / 'a.png')})['gt'], 100)


def test_a_file_that_went_bad_is_named_with_the_way_out(image_folder, load):
    path = image_folder / 'a' / 'image_0000.png'
    path.write_bytes(b'')
    with pytest.raises(BadImageError, match=r'a/image_0000.png: the file is empty. Restore the'):
        load({'gt_path': str(path)})
    path.unlink()
    with pytest.raises(BadImageError, match=r'image_0000.png: the file does not exist. Restore'):
        load({'gt_path': str(path)})
