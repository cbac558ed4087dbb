import json
import os
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS, TRANSFORMS
from PIL import Image, features
from torch.utils.data import DataLoader

from disp_plugin.datasets import (
    IMG_EXTENSIONS,
    BadImageError,
    ImageFolderDataset,
    ImageViews,
    ResumableSampler,
    SeededDraws,
    decode_image,
    find_images,
)
from disp_plugin.priors import PriorBank


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


@pytest.mark.parametrize('kind', ['pipe', 'circle', 'broken'])
def test_what_is_named_like_an_image_but_is_no_file_is_refused(tmp_path, make_image_folder, kind):
    folder = make_image_folder(tmp_path, num=2)
    odd = folder / 'odd.png'
    if kind == 'pipe':
        os.mkfifo(odd)
        with pytest.raises(BadImageError, match='a pipe or a device'):
            decode_image(odd)
    else:
        odd.symlink_to('odd.png' if kind == 'circle' else 'nowhere.png')
    with pytest.raises(ValueError, match=r'1 of 3 images below .* such as .odd\.png.; remove'):
        ImageFolderDataset(str(folder))
    odd.rename(folder / 'odd.txt')
    assert len(ImageFolderDataset(str(folder))) == 2


def test_no_folder_is_not_the_current_one(tmp_path, monkeypatch, make_image_folder):
    monkeypatch.chdir(make_image_folder(tmp_path, num=2))
    with pytest.raises(ValueError, match='data_root is empty'):
        ImageFolderDataset('')
    assert len(ImageFolderDataset('.')) == 2


def test_a_manifest_names_what_spaces_and_odd_breaks_are_a_part_of(tmp_path, make_image_folder):
    folder = make_image_folder(tmp_path, num=2)
    names = [' a.png', 'b\u2028c.png']
    for file, name in zip(sorted(folder.iterdir()), names, strict=True):
        file.rename(folder / name)
    (folder / 'all.txt').write_text('\n'.join(names), encoding='utf-8')
    assert keys_of(ImageFolderDataset(str(folder), 'all.txt')) == sorted(names)


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
        (r'C:\photos\image_0005.png', ValueError, 'must be relative to data_root'),
        ('b/../../x.png', ValueError, 'must be relative to data_root'),
        ('image_0005.png\n./image_0005.png', ValueError, "'image_0005.png' more than once"),
    ],
)
def test_a_manifest_that_cannot_be_meant_is_refused(mixed_folder, manifest, error, words):
    (mixed_folder / 'few.txt').write_text(manifest)
    with pytest.raises(error, match=words):
        ImageFolderDataset(str(mixed_folder), ann_file='few.txt')


@pytest.mark.parametrize(
    'content',
    [
        b'b\\image_0003.png\r\n.\\a\\deep\\image_0001.png\r\n',
        'b\\image_0003.png\na\\deep/image_0001.png'.encode('utf-16'),  # of PowerShell
        b'\xef\xbb\xbfb\\image_0003.png\na/deep/image_0001.png',  # of Notepad
    ],
)
def test_a_manifest_written_on_windows_names_the_same_images(mixed_folder, content):
    (mixed_folder / 'few.txt').write_bytes(content)
    dataset = ImageFolderDataset(str(mixed_folder), ann_file='few.txt')
    assert keys_of(dataset) == ['a/deep/image_0001.png', 'b/image_0003.png']


def test_a_backslash_in_a_name_is_kept_where_there_is_such_a_file(mixed_folder):
    (mixed_folder / 'image_0005.png').rename(mixed_folder / r'b\image_0003.png')
    (mixed_folder / 'few.txt').write_text('b\\image_0003.png')
    assert keys_of(ImageFolderDataset(str(mixed_folder), 'few.txt')) == [r'b\image_0003.png']


def test_a_manifest_alone_stands_for_its_folder(mixed_folder, monkeypatch):
    manifest = mixed_folder / 'b' / 'few.txt'
    manifest.write_text('image_0003.png')
    (mixed_folder / 'b' / 'a.bank').write_bytes(b'')
    dataset = ImageFolderDataset(str(manifest))
    assert keys_of(dataset) == ['image_0003.png']
    assert dataset.image_paths == [str(mixed_folder / 'b' / 'image_0003.png')]
    assert dataset.data_root == str(mixed_folder / 'b')
    with pytest.raises(ValueError, match=r"few.txt' is a file, not a folder, and ann_file is 'x'"):
        ImageFolderDataset(str(manifest), 'x')
    monkeypatch.chdir(mixed_folder / 'b')
    assert keys_of(ImageFolderDataset('few.txt')) == ['image_0003.png']
    with pytest.raises(ValueError, match=r'UPPER case.PNG. is neither a folder nor a manifest'):
        ImageFolderDataset(str(mixed_folder / 'UPPER case.PNG'))
    assert find_images(manifest) == dataset.image_paths
    assert find_images(mixed_folder / 'b') == [
        str(mixed_folder / 'b' / name) for name in ('image_0000.png', 'image_0003.png')
    ]
    assert find_images('image_0000.png') == ['image_0000.png']


def test_every_format_that_pillow_decodes_is_taken_and_the_rest_is_counted(tmp_path, capsys):
    endings = ['png', 'jpg', 'tga', 'jp2', 'ppm', *(['avif'] if features.check('avif') else [])]
    for ending in endings:
        Image.new('RGB', (8, 8), 'red').save(tmp_path / f'a.{ending}')
    for name in ('a.pdf', 'b.PDF', 'c.h5', 'd.jxr', 'noending', 'bank.safetensors'):
        (tmp_path / name).write_bytes(b'x')
    dataset = ImageFolderDataset(str(tmp_path))
    assert keys_of(dataset) == sorted(f'a.{ending}' for ending in endings)
    for index in range(len(dataset)):
        assert np.abs(dataset.view(index) - np.array([255, 0, 0])).max() <= 8
    ImageFolderDataset(str(tmp_path))
    printed = capsys.readouterr()
    told = '5 other files (1 without ending; 1 .h5; 1 .jxr; 2 .pdf)'
    assert (printed.out + printed.err).count(f'holds {len(endings)} images; left out: {told}') == 1


@pytest.mark.parametrize('ending', ['heic', 'jxl'])
def test_an_image_that_a_plugin_would_decode_is_named_with_it(tmp_path, ending):
    if f'.{ending}' in IMG_EXTENSIONS:
        pytest.skip('the plugin is installed')
    (tmp_path / f'a.{ending}').write_bytes(b'x')
    with pytest.raises(ValueError, match=f'.{ending}, read after pip install pillow-'):
        ImageFolderDataset(str(tmp_path))


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
    with pytest.raises(ValueError, match=r'no image, only 3 other files \(3 \.txt\); .*\.png'):
        ImageFolderDataset(str(tmp_path))


def test_a_name_that_is_not_utf8_is_refused_with_the_way_out(tmp_path, make_image_folder):
    folder = make_image_folder(tmp_path, num=1)
    try:
        os.rename(folder / 'image_0000.png', os.fsencode(folder) + b'/caf\xe9.png')
    except OSError:
        pytest.skip('this file system takes UTF-8 names only')
    with pytest.raises(ValueError, match=r'not valid UTF-8.*rename'):
        ImageFolderDataset(str(folder))


def test_a_config_of_mmagic_builds_it_and_its_workers_load_the_pixels(mixed_folder):
    cfg = {
        'type': 'ImageFolderDataset',
        'data_root': str(mixed_folder),
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


@pytest.fixture
def pictures(tmp_path, rng):
    """Random pictures of many shapes."""
    for number, shape in enumerate([(40, 30), (31, 50), (33, 33), (200, 301), (17, 90)]):
        pixels = rng(number).integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{number}.png')
    return str(tmp_path)


@pytest.mark.parametrize('size', [16, 33, 64])
def test_a_view_is_what_the_transforms_of_mmagic_make(pictures, size):
    dataset = ImageFolderDataset(pictures, image_size=size)
    crop = TRANSFORMS.build(dict(type='CenterCropLongEdge', keys='gt'))
    options = dict(scale=(size, size), interpolation='bicubic', backend='pillow')
    resize = TRANSFORMS.build(dict(type='Resize', keys='gt', **options))
    for index, path in enumerate(dataset.image_paths):
        theirs = resize(crop({'gt': decode_image(path)}))['gt']
        np.testing.assert_array_equal(dataset.view(index), theirs)
        np.testing.assert_array_equal(dataset.view(index, flipped=True), theirs[:, ::-1])


def test_without_crop_the_whole_image_is_squeezed_and_without_size_it_stays(pictures):
    whole = ImageFolderDataset(pictures, image_size=16, crop='none').view(0)
    pillow = Image.open(os.path.join(pictures, '0.png')).resize((16, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(whole, np.asarray(pillow))
    untouched = ImageFolderDataset(pictures)
    assert [untouched.view(index).shape[:2] for index in (0, 4)] == [(40, 30), (17, 90)]


def test_a_view_has_the_white_level(tmp_path):
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / 'a.png')
    assert ImageFolderDataset(tmp_path).view(0).max() == 16
    dataset = ImageFolderDataset(tmp_path, white_level=4095)
    assert dataset.view(0).min() == 255 and dataset[0]['data_samples'].gt_img.min() == 255


def test_the_description_tells_views_apart_and_the_flip_is_the_number_of_views(pictures):
    options = [{}, dict(image_size=16), dict(image_size=32), dict(image_size=16, crop='none')]
    texts = [json.dumps(ImageFolderDataset(pictures, **o).describe_view()) for o in options]
    assert len(set(texts)) == 4
    flipping = ImageFolderDataset(pictures, image_size=16, flip=True)
    assert json.dumps(flipping.describe_view()) == texts[1]
    level = ImageFolderDataset(pictures, image_size=16, white_level=4095).describe_view()
    assert level == {**flipping.describe_view(), 'white_level': 4095}
    assert (flipping.num_views, ImageFolderDataset(pictures).num_views) == (2, 1)
    assert isinstance(flipping, ImageViews)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(image_size=0), 'image_size must be at least 1, but is 0'),
        (dict(white_level=0), 'white_level must be positive, but is 0'),
        (dict(crop='left'), "crop must be 'center' or 'none', but is 'left'"),
    ],
)
def test_an_option_out_of_range_is_refused(pictures, options, words):
    with pytest.raises(ValueError, match=words):
        ImageFolderDataset(pictures, **options)


def test_a_sample_holds_the_view_as_bgr_and_its_row(pictures):
    dataset = ImageFolderDataset(pictures, image_size=16)
    sample = dataset[len(dataset) + 3]
    assert sample['inputs'] == {}
    data = sample['data_samples']
    bgr = dataset.view(3)[..., ::-1]
    np.testing.assert_array_equal(data.gt_img.permute(1, 2, 0), bgr)
    assert data.gt_img.is_contiguous() and data.gt_img.dtype == torch.uint8
    assert (data.sample_idx, data.gt_path) == (3, dataset.image_paths[3])
    assert (data.gt_channel_order, data.gt_color_type) == ('bgr', 'color')
    assert 'gt_prior' not in data


def test_its_flips_are_those_that_seeded_draws_would_make(pictures):
    def is_flipped(dataset, position):
        image = dataset[position]['data_samples'].gt_img
        return not torch.equal(image, plain[position % 5]['data_samples'].gt_img)

    plain = ImageFolderDataset(pictures, image_size=16)
    own = ImageFolderDataset(pictures, image_size=16, flip=True, seed=3)
    wrapped = SeededDraws(ImageFolderDataset(pictures, image_size=16, flip=True), seed=3)
    flips = [is_flipped(own, position) for position in range(200)]
    assert flips == [is_flipped(wrapped, position) for position in range(200)]
    assert 70 < sum(flips) < 130
    # one image's flips differ from pass to pass, and another seed's are others
    assert 0 < sum(flips[::5]) < 40
    own.seed = 4
    assert flips != [is_flipped(own, position) for position in range(200)]


def test_without_a_seed_flips_come_from_the_global_generator(pictures):
    dataset = ImageFolderDataset(pictures, image_size=16, flip=True)
    assert len({dataset[0]['data_samples'].gt_img.sum(1).numpy().tobytes() for _ in range(20)}) == 2


def test_the_sampler_hands_its_seed_over_unless_there_is_one(pictures):
    dataset = ImageFolderDataset(pictures, flip=True)
    drawn = list(islice(ResumableSampler(dataset, seed=7), 15))
    assert dataset.seed == 7 and sorted(drawn[5:10]) == list(range(5, 10))
    own = ImageFolderDataset(pictures, flip=True, seed=0)
    ResumableSampler(own, seed=7)
    assert own.seed == 0


def test_a_prior_is_that_of_the_view_that_is_shown(pictures):
    dataset = ImageFolderDataset(pictures, image_size=16)
    priors = torch.arange(20.0).view(5, 2, 2)
    PriorBank(dataset.image_keys, priors).save(os.path.join(pictures, 'banks', 'a.bank'))
    options = dict(image_size=16, flip=True, seed=3)
    with_bank = ImageFolderDataset(pictures, bank_file='banks/a.bank', **options)
    assert with_bank.bank_path == Path(pictures, 'banks/a.bank')
    for position in range(40):
        data = with_bank[position]['data_samples']
        index = position % 5
        flipped = not np.array_equal(
            data.gt_img.permute(1, 2, 0)[..., [2, 1, 0]], dataset.view(index)
        )
        assert torch.equal(data.gt_prior, priors[index, int(flipped)])
    elsewhere = ImageFolderDataset(pictures, bank_file=str(with_bank.bank_path.absolute()))
    assert elsewhere.bank_path == with_bank.bank_path
    assert ImageFolderDataset(pictures).bank_path is None


def test_a_file_that_went_bad_is_named_with_the_way_out(pictures):
    dataset = ImageFolderDataset(pictures, image_size=16)
    Path(pictures, '1.png').write_bytes(b'')
    with pytest.raises(BadImageError, match=r'1.png: the file is empty. Restore the file, or'):
        dataset[1]
    with pytest.raises(BadImageError, match=r'1.png: the file is empty$'):
        dataset.view(1)
    with pytest.raises(IndexError, match='must not be negative'):
        dataset[-1]


def test_workers_give_the_same_samples(pictures):
    dataset = ImageFolderDataset(pictures, image_size=16, flip=True)
    sampler = ResumableSampler(dataset, seed=1)
    loader = DataLoader(dataset, 4, sampler=sampler, num_workers=2, collate_fn=list)
    found = [sample for batch in islice(loader, 5) for sample in batch]
    for sample, position in zip(found, islice(sampler, 20), strict=True):
        expected = dataset[position]['data_samples'].gt_img
        assert torch.equal(sample['data_samples'].gt_img, expected)
