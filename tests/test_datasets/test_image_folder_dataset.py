import os
import pickle

import numpy as np
import pytest
from mmagic.registry import DATASETS
from torch.utils.data import DataLoader

from disp_plugin.datasets import ImageFolderDataset, decode_image


def keys_of(dataset):
    return [dataset.get_data_info(index)['image_key'] for index in range(len(dataset))]


@pytest.fixture
def mixed_folder(tmp_path, make_image_folder):
    folder = make_image_folder(tmp_path / 'data', num=6, subfolders=('b', 'a/deep', ''))
    (folder / 'notes.txt').write_text('no image')
    (folder / '._image_0000.png').write_bytes(b'what a system stores beside an image')
    (folder / '.cache').mkdir()
    (folder / '.cache' / 'thumb.png').write_bytes(b'')
    (folder / 'image_0002.png').rename(folder / 'UPPER case.PNG')
    return folder


def test_every_image_below_the_folder_is_listed_by_key_and_sorted(mixed_folder):
    dataset = ImageFolderDataset(str(mixed_folder))
    assert keys_of(dataset) == [
        'UPPER case.PNG',
        'a/deep/image_0001.png',
        'a/deep/image_0004.png',
        'b/image_0000.png',
        'b/image_0003.png',
        'image_0005.png',
    ]


def test_an_image_has_its_key_with_extension_and_a_path_that_opens(mixed_folder):
    info = ImageFolderDataset(str(mixed_folder)).get_data_info(1)
    assert info['image_key'] == info['key'] == 'a/deep/image_0001.png'
    assert info['gt_path'] == os.path.join(mixed_folder, 'a/deep/image_0001.png')
    assert info['sample_idx'] == 1
    assert decode_image(info['gt_path']).shape == (16, 16, 3)


def test_two_files_that_differ_by_extension_only_have_two_keys(tmp_path, make_image_folder):
    folder = make_image_folder(tmp_path, num=1)
    (folder / 'image_0000.bmp').write_bytes((folder / 'image_0000.png').read_bytes())
    assert keys_of(ImageFolderDataset(str(folder))) == ['image_0000.bmp', 'image_0000.png']


def test_a_linked_folder_is_followed_and_a_circle_of_links_ends(tmp_path, make_image_folder):
    other = make_image_folder(tmp_path / 'other', num=1)
    folder = make_image_folder(tmp_path / 'data', num=1)
    (folder / 'link').symlink_to(other)
    (folder / 'circle').symlink_to(folder)
    assert keys_of(ImageFolderDataset(str(folder))) == ['image_0000.png', 'link/image_0000.png']


def test_a_manifest_chooses_images_and_allows_spaces_blank_lines_and_dots(mixed_folder):
    (mixed_folder / 'few.txt').write_text('b/image_0003.png\r\n\n ./UPPER case.PNG \n')
    dataset = ImageFolderDataset(str(mixed_folder), ann_file='few.txt')
    assert keys_of(dataset) == ['UPPER case.PNG', 'b/image_0003.png']
    elsewhere = mixed_folder.parent / 'elsewhere.txt'
    elsewhere.write_text('image_0005.png')
    dataset = ImageFolderDataset(str(mixed_folder), ann_file=str(elsewhere))
    assert keys_of(dataset) == ['image_0005.png']


@pytest.mark.parametrize(
    ('manifest', 'error', 'words'),
    [
        ('gone.png\nimage_0005.png', FileNotFoundError, '1 of 2 images .* such as gone.png'),
        ('\n \n', ValueError, 'names no image'),
        ('/etc/passwd', ValueError, "names '/etc/passwd', but its paths must be relative"),
        ('b/../../x.png', ValueError, 'must be relative to data_root'),
        ('image_0005.png\n./image_0005.png', ValueError, "'image_0005.png' more than once"),
    ],
)
def test_a_manifest_that_cannot_be_meant_is_refused(mixed_folder, manifest, error, words):
    (mixed_folder / 'few.txt').write_text(manifest)
    with pytest.raises(error, match=words):
        ImageFolderDataset(str(mixed_folder), ann_file='few.txt')


def test_a_manifest_that_is_not_there_is_named(mixed_folder):
    with pytest.raises(FileNotFoundError, match=r'few.txt.* does not exist; it is the manifest'):
        ImageFolderDataset(str(mixed_folder), ann_file='few.txt')


def test_a_missing_folder_an_empty_one_and_one_without_images_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere' does not exist .*set data_root"):
        ImageFolderDataset(str(tmp_path / 'nowhere'))
    with pytest.raises(ValueError, match='holds no image, no file at all'):
        ImageFolderDataset(str(tmp_path))
    for index in range(3):
        (tmp_path / f'{index}.txt').write_text('')
    with pytest.raises(ValueError, match=r'holds no image, only 3 other files; .*\.png'):
        ImageFolderDataset(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='is a file, not a folder'):
        ImageFolderDataset(str(tmp_path / '0.txt'))


def test_a_name_that_is_not_utf8_is_refused_with_the_way_out(tmp_path, make_image_folder):
    folder = make_image_folder(tmp_path, num=1)
    try:
        os.rename(folder / 'image_0000.png', os.fsencode(folder) + b'/caf\xe9.png')
    except OSError:
        pytest.skip('this file system takes UTF-8 names only')
    with pytest.raises(ValueError, match=r'not valid UTF-8.*rename'):
        ImageFolderDataset(str(folder))


def test_the_instances_share_no_state(mixed_folder, tmp_path, make_image_folder):
    first = ImageFolderDataset(str(mixed_folder))
    second = ImageFolderDataset(str(make_image_folder(tmp_path / 'two', num=2)))
    assert first.filename_tmpl is not second.filename_tmpl
    assert len(first) == 6 and len(second) == 2


def test_a_config_of_mmagic_builds_it_and_its_workers_load_the_pixels(mixed_folder):
    cfg = {
        'type': 'ImageFolderDataset',
        'data_root': str(mixed_folder),
        'pipeline': [
            {'type': 'LoadTrainingImage', 'key': 'gt'},
            {'type': 'PackInputs', 'keys': ['gt']},
        ],
        '_scope_': 'mmagic',
    }
    dataset = DATASETS.build(cfg)
    assert dataset.serialize_data and not dataset.data_list
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=list)
    samples = [sample for batch in loader for sample in batch]
    for sample, key in zip(samples, keys_of(dataset), strict=True):
        bgr = decode_image(os.path.join(mixed_folder, key))[..., ::-1]
        np.testing.assert_array_equal(sample['data_samples'].gt_img.permute(1, 2, 0), bgr)


def test_it_can_be_sliced_and_pickled(mixed_folder):
    dataset = ImageFolderDataset(str(mixed_folder), indices=2)
    assert keys_of(pickle.loads(pickle.dumps(dataset))) == keys_of(dataset)
    assert len(dataset) == 2
