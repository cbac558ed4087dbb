import copy
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from disp_plugin.datasets import ImageFolderDataset, ResumableSampler, image_folder_dataset
from disp_plugin.datasets.image_cache import ImageCache, free_memory
from disp_plugin.priors import PriorBank

SIZE = 12
BYTES = 3 * SIZE * SIZE


@pytest.fixture
def make(tmp_path, rng):
    """Make data sets of the same seven images with priors of both views, mirrored at random."""
    for number in range(7):
        pixels = rng(number).integers(0, 256, (20, 14 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{number}.png')
    keys = [f'{number}.png' for number in range(7)]
    PriorBank(keys, torch.rand(7, 2, 3)).save(tmp_path / 'a.bank')
    options = dict(image_size=SIZE, flip=True, bank_file='a.bank')
    return lambda **others: ImageFolderDataset(str(tmp_path), **{**options, **others})


def draw(dataset, num_workers=0, num_batches=6):
    sampler = ResumableSampler(dataset, seed=1)
    loader = DataLoader(dataset, 5, sampler=sampler, num_workers=num_workers, collate_fn=list)
    samples = [sample['data_samples'] for batch in islice(loader, num_batches) for sample in batch]
    return [(x.gt_img, x.gt_prior, x.gt_path, x.sample_idx) for x in samples]


def assert_same(first, second):
    for (image, prior, *rest), (other, other_prior, *other_rest) in zip(first, second, strict=True):
        assert torch.equal(image, other) and torch.equal(prior, other_prior) and rest == other_rest
        assert image.is_contiguous() and image.dtype == torch.uint8


def allow(monkeypatch, num_bytes):
    monkeypatch.setattr(image_folder_dataset, 'free_memory', lambda: num_bytes)


@pytest.mark.parametrize('num_workers', [0, 1, 2])
@pytest.mark.parametrize('num_kept', [7, 3])
def test_batches_are_the_same_with_kept_images_and_any_workers(
    make, monkeypatch, num_workers, num_kept
):
    expected = draw(make())
    dataset = make(cache_memory=0.5)
    allow(monkeypatch, 2 * num_kept * BYTES)
    dataset.keep_images()
    assert_same(expected, draw(dataset, num_workers))
    assert_same(expected, draw(dataset))  # now from memory, though workers filled it


def test_an_image_is_decoded_once_by_whichever_worker_comes_first(make):
    dataset = make()
    dataset.keep_images()
    expected = draw(dataset, num_workers=2)
    for path in dataset.image_paths:
        Path(path).unlink()
    assert_same(expected, draw(dataset))


@pytest.mark.parametrize(
    ('options', 'num_bytes', 'told'),
    [
        ({}, 4 * 8 * BYTES, 'all 7 images are kept in memory once decoded, in 0.0 MB (cache_'),
        ({}, 4 * 5 * BYTES + 1, '5 of 7 images are kept in memory once decoded, in 0.0 MB (cache_'),
        (dict(cache_memory=1), 2 * BYTES, '2 of 7 images are kept'),
        ({}, 3 * BYTES, 'decoded whenever they are drawn: cache_memory=0.25 of the free memory'),
        ({}, 0, 'leaves no room for one'),
        (dict(cache_memory=0), 10**6, 'decoded whenever they are drawn (cache_memory=0)'),
        (dict(image_size=None), 10**6, 'decoded whenever they are drawn (image_size=None)'),
    ],
)
def test_no_more_than_the_fraction_is_kept_and_told(make, monkeypatch, options, num_bytes, told):
    dataset = make(**options)
    allow(monkeypatch, num_bytes)
    assert told in dataset.keep_images()
    if 'are kept' in told:
        assert len(dataset._cache._images) == (7 if 'all' in told else int(told[0]))
    else:
        assert dataset._cache is None
        assert len({len(dataset[row]['data_samples'].gt_img) for row in range(7)}) == 1


def test_processes_on_a_machine_split_the_fraction(make, monkeypatch):
    allow(monkeypatch, 4 * 6 * BYTES)
    assert '3 of 7' in make().keep_images(num_processes=2)


def test_a_copy_in_a_process_that_is_not_forked_decodes_itself(make):
    dataset = make()
    dataset.keep_images()
    expected = draw(dataset)
    for other in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        assert other._cache is None
        assert_same(expected, draw(other))


def test_memory_is_taken_only_as_it_is_filled():
    cache = ImageCache(10**4, (3, 256, 256))  # 2 GB
    image = torch.full((3, 256, 256), 7, dtype=torch.uint8)
    for _ in range(2):
        loaded = cache.load(np.array([9_999, 5, 5]), lambda row: image + (row == 5))
        assert (loaded[0] == 7).all() and (loaded[1:] == 8).all()
    lines = Path('/proc/self/status').read_text().splitlines()
    shared = next(int(line.split()[1]) for line in lines if line.startswith('RssShmem'))
    assert shared < 100 * 1024


def test_memory_that_the_system_refuses_is_told(make, monkeypatch):
    def refuse(*args):
        raise OSError(12, 'Cannot allocate memory')

    monkeypatch.setattr(image_folder_dataset, 'ImageCache', refuse)
    assert 'drawn: Cannot allocate memory' in make().keep_images()


def test_a_fraction_out_of_range_is_refused(make):
    with pytest.raises(ValueError, match='cache_memory must be a fraction from 0 to 1, but is 2'):
        make(cache_memory=2)


def test_the_free_memory_is_the_least_of_the_machine_and_its_control_groups(tmp_path, monkeypatch):
    files = {
        '/proc/meminfo': 'MemTotal: 9000 kB\nMemAvailable: 8000 kB\nHugePages_Total: 0\n',
        '/proc/self/cgroup': '4:memory:/job/step\n1:cpu:/\n0::/box\n',
        '/sys/fs/cgroup/box/memory.max': 'max',
        '/sys/fs/cgroup/memory.max': '6000000',
        '/sys/fs/cgroup/memory.current': '3000000',
        '/sys/fs/cgroup/memory.stat': 'anon 2500000\ninactive_file 500000\n',
        '/sys/fs/cgroup/memory/job/memory.limit_in_bytes': '5000000',
        '/sys/fs/cgroup/memory/job/memory.usage_in_bytes': '4000000',
        '/sys/fs/cgroup/memory/job/memory.stat': 'inactive_file 1\ntotal_inactive_file 700000\n',
    }

    def read(path):
        if str(path) not in files:
            raise FileNotFoundError(path)
        return files[str(path)]

    monkeypatch.setattr(Path, 'read_text', read)
    assert free_memory() == 1_700_000
    del files['/sys/fs/cgroup/memory/job/memory.limit_in_bytes']
    assert free_memory() == 3_500_000
    files['/proc/self/cgroup'] = '0::/\n'
    files['/sys/fs/cgroup/memory.max'] = 'max'
    assert free_memory() == 8000 * 1024
    files.clear()
    assert free_memory() == 0
