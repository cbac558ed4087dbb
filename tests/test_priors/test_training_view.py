import random

import cv2
import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS, TRANSFORMS
from mmcv.transforms import BaseTransform
from PIL import Image

from disp_plugin.datasets import SeededDraws
from disp_plugin.priors import TrainingView


def make_view(cfg):
    return TrainingView(DATASETS.build(cfg))


def test_views_are_the_image_as_trained_and_its_mirror(tmp_path, dataset_cfg):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'x.png')
    views = make_view(dataset_cfg(tmp_path, 'none', size=6))[0]
    # by hand: center crop of the long edge, then Pillow's bilinear resize
    expected = np.asarray(Image.fromarray(pixels[:, 2:12]).resize((6, 6), Image.BILINEAR))
    assert views.shape == (2, 6, 6, 3)
    assert views.dtype == np.uint8
    np.testing.assert_array_equal(views[0], expected)
    np.testing.assert_array_equal(views[1], expected[:, ::-1])


@pytest.mark.parametrize('ratio', [0.0, 1.0])
def test_view_is_what_training_gets_when_flip_falls(image_folder, dataset_cfg, ratio):
    cfg = dataset_cfg(image_folder, 'none')
    view = make_view(cfg)
    run = dataset_cfg(image_folder)
    run['pipeline'][3]['flip_ratio'] = ratio
    dataset = DATASETS.build(run)
    for row in range(len(view)):
        trained = dataset[row]['inputs'].flip(0).permute(1, 2, 0).numpy()  # BGR to RGB
        np.testing.assert_array_equal(trained, view[row][int(ratio)])


def test_flip_is_done_where_it_stands(tmp_path, dataset_cfg):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'x.png')
    cfg = dataset_cfg(tmp_path, 'none', flip=False, size=9)
    cfg['pipeline'][3:3] = [
        dict(type='Flip', keys=['gt'], flip_ratio=0.5),
        dict(type='FixedCrop', keys=['gt'], crop_size=(4, 4), crop_pos=(1, 2)),
    ]
    views = make_view(cfg)[0]
    np.testing.assert_array_equal(views[0], pixels[2:6, 1:5])
    np.testing.assert_array_equal(views[1], pixels[:, ::-1][2:6, 1:5])


@pytest.mark.parametrize('ratio', [None, 0.0])
def test_pipeline_that_never_flips_has_one_view(image_folder, dataset_cfg, ratio):
    cfg = dataset_cfg(image_folder, 'none', flip=ratio is not None)
    if ratio is not None:
        cfg['pipeline'][3]['flip_ratio'] = ratio
    view = make_view(cfg)
    assert view.num_views == 1
    assert view[0].shape == (1, 12, 12, 3)


def test_images_come_sorted_by_key_whatever_the_wrapper(image_folder, dataset_cfg):
    dataset = DATASETS.build(dataset_cfg(image_folder, 'none'))
    view = TrainingView(SeededDraws(dataset))
    assert view.keys == sorted(view.keys)
    assert len(view) == 8
    assert all(path.endswith(key) for path, key in zip(view.paths, view.keys, strict=True))


class Listed:
    """A data set of someone else's that lists its images in an order of its own."""

    pipeline = ()

    def __init__(self, keys):
        self.keys = keys

    def __len__(self):
        return len(self.keys)

    def get_data_info(self, index):
        key = self.keys[index]
        return dict(image_key=key, gt_path=f'/{key}', gt=np.full((1, 1, 3), index, np.uint8))


def test_order_of_the_data_set_does_not_count():
    view = TrainingView(Listed(['c', 'a', 'b']))
    assert view.keys == ['a', 'b', 'c']
    assert view.paths == ['/a', '/b', '/c']
    assert [int(view[row][0, 0, 0, 0]) for row in range(3)] == [1, 2, 0]
    with pytest.raises(ValueError, match="image key 'a' comes twice in the data set"):
        TrainingView(Listed(['a', 'b', 'a']))
    with pytest.raises(ValueError, match='Listed has no images'):
        TrainingView(Listed([]))


@pytest.mark.parametrize(
    'step',
    [
        dict(type='RandomResizedCrop', keys=['gt'], crop_size=8),
        dict(type='Crop', keys=['gt'], crop_size=(8, 8)),
        dict(type='FixedCrop', keys=['gt'], crop_size=(8, 8)),
        dict(type='RandomTransposeHW', keys=['gt'], transpose_ratio=0.5),
        dict(type='ColorJitter', keys=['gt'], channel_order='bgr', brightness=0.5),
        dict(type='RandomRotation', keys=['gt'], degrees=10),
    ],
)
def test_random_steps_of_mmagic_are_named(image_folder, dataset_cfg, step):
    cfg = dataset_cfg(image_folder, 'none', before=[step])
    with pytest.raises(ValueError, match=f'draws at random before LoadPrior: {step["type"]}'):
        make_view(cfg).check_deterministic()


@pytest.mark.parametrize(
    'step',
    [
        dict(type='Crop', keys=['gt'], crop_size=(8, 8), random_crop=False),
        dict(type='FixedCrop', keys=['gt'], crop_size=(8, 8), crop_pos=(1, 1)),
    ],
)
def test_steps_that_can_draw_but_do_not_are_fine(image_folder, dataset_cfg, step):
    view = make_view(dataset_cfg(image_folder, 'none', before=[step]))
    view.check_deterministic()
    np.testing.assert_array_equal(view[0], view[0])


def test_random_step_is_named_where_the_first_image_hides_it(tmp_path, dataset_cfg):
    Image.new('RGB', (16, 16)).save(tmp_path / 'black.png')
    step = dict(type='Crop', keys=['gt'], crop_size=(8, 8))
    with pytest.raises(ValueError, match='draws at random before LoadPrior: Crop'):
        make_view(dataset_cfg(tmp_path, 'none', before=[step])).check_deterministic()


@TRANSFORMS.register_module(force=True)
class Flicker(BaseTransform):
    """Draws by one of the three generators, and does not say so in its name."""

    def __init__(self, source):
        self.source = source

    def transform(self, results):
        draws = dict(
            python=random.random, numpy=np.random.rand, torch=lambda: torch.rand(()).item()
        )
        results['gt'] = results['gt'] // (2 if draws[self.source]() < 0.5 else 1)
        return results


@pytest.mark.parametrize('source', ['python', 'numpy', 'torch'])
def test_unknown_random_step_is_found_by_what_it_does(image_folder, dataset_cfg, source):
    steps = [dict(type='Flicker', source=source), dict(type='CenterCropLongEdge', keys='gt')]
    view = make_view(dataset_cfg(image_folder, 'none', before=steps))
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with pytest.raises(ValueError, match='Flicker gave different images of one file in 8 runs'):
        view.check_deterministic()
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_flips_that_no_bank_has_are_refused(image_folder, dataset_cfg):
    cfg = dataset_cfg(image_folder, 'none')
    cfg['pipeline'][3]['direction'] = 'vertical'
    with pytest.raises(ValueError, match="direction='vertical', but a bank has views for horiz"):
        make_view(cfg)
    twice = dataset_cfg(image_folder, 'none', before=[dict(type='Flip', keys='gt')])
    with pytest.raises(ValueError, match='has 2 Flip steps before LoadPrior; keep one'):
        make_view(twice)
    late = dataset_cfg(image_folder, 'none')
    late['pipeline'][3:5] = late['pipeline'][4:2:-1]
    with pytest.raises(ValueError, match='Flip stands behind LoadPrior.*move Flip before'):
        make_view(late)


def test_pipeline_must_leave_an_8_bit_image(image_folder, dataset_cfg):
    cfg = dataset_cfg(image_folder, 'none', before=[dict(type='RescaleToZeroOne', keys=['gt'])])
    with pytest.raises(ValueError, match="gives float32 for 'gt', but before LoadPrior it must be"):
        make_view(cfg)[0]


def test_loader_that_gives_rgb_is_not_swapped(tmp_path, dataset_cfg):
    cv2.imwrite(str(tmp_path / 'x.png'), np.full((4, 4, 3), (10, 20, 30), np.uint8))
    cfg = dataset_cfg(tmp_path, 'none', size=4)
    cfg['pipeline'][0] = dict(type='LoadImageFromFile', key='gt', channel_order='rgb')
    np.testing.assert_array_equal(make_view(cfg)[0][0, 0, 0], [30, 20, 10])
    cfg['pipeline'][0]['channel_order'] = 'bgr'
    np.testing.assert_array_equal(make_view(cfg)[0][0, 0, 0], [30, 20, 10])


def test_fingerprint_follows_keys_sizes_and_steps_only(image_folder, tmp_path, dataset_cfg):
    def fingerprint(cfg):
        view = make_view(cfg)
        return view.fingerprint(view.file_sizes())

    first = fingerprint(dataset_cfg(image_folder, 'one'))
    assert fingerprint(dataset_cfg(image_folder, 'another', flip=False)) == first
    moved = image_folder.rename(tmp_path / 'moved')
    assert fingerprint(dataset_cfg(moved, 'one')) == first
    assert fingerprint(dataset_cfg(moved, 'one', size=11)) != first
    file = moved / 'a' / 'image_0000.png'
    file.write_bytes(file.read_bytes() + b'x')
    changed = fingerprint(dataset_cfg(moved, 'one'))
    assert changed != first
    file.rename(moved / 'a' / 'other.png')
    assert fingerprint(dataset_cfg(moved, 'one')) not in (first, changed)


def test_data_set_without_image_keys_is_told_what_it_lacks(image_folder):
    cfg = dict(
        type='BasicImageDataset', data_root=str(image_folder / 'a'), data_prefix=dict(gt=''),
        pipeline=[],
    )  # fmt: skip
    with pytest.raises(ValueError, match='BasicImageDataset gives no image_key and gt_path'):
        make_view(cfg)
    with pytest.raises(ValueError, match='a bank belongs to one data set .* not to a list'):
        TrainingView([1, 2])
