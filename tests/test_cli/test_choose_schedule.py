"""The schedule follows the number and size of the images, and says why."""

import pytest

from disp_plugin.cli.choose_schedule import choose_schedule


@pytest.mark.parametrize(
    ('side', 'size'), [(16, 32), (32, 32), (63, 32), (64, 64), (100, 64), (128, 128), (2000, 128)]
)
def test_no_image_of_median_size_is_enlarged_unless_it_must_be(side, size):
    assert choose_schedule([side] * 9, has_gpu=True).image_size == size


def test_it_is_the_median_that_counts():
    assert choose_schedule([16, 64, 4000], has_gpu=True).image_size == 64


def test_without_a_gpu_images_stay_small():
    assert choose_schedule([512] * 100, has_gpu=False).image_size == 32


@pytest.mark.parametrize(('num', 'batch'), [(2, 2), (3, 2), (31, 16), (100, 64), (5000, 64)])
def test_a_batch_never_holds_more_than_the_folder(num, batch):
    assert choose_schedule([64] * num, has_gpu=True).batch_size == batch


def test_the_schedules_of_the_configs_are_met():
    few = choose_schedule([128] * 100, has_gpu=True)
    assert few.max_iters * few.batch_size == pytest.approx(30_000 * 4 * 25, rel=0.02)
    limited = choose_schedule([128] * 2500, has_gpu=True)
    assert limited.max_iters * limited.batch_size == pytest.approx(30_000 * 256, rel=0.02)


@pytest.mark.parametrize('num', [0, 1])
def test_fewer_than_two_images_are_refused(num):
    with pytest.raises(ValueError, match=f'{num} images? found: a GAN needs at least 2'):
        choose_schedule([64] * num, has_gpu=True)


def test_each_choice_states_its_reason():
    schedule = choose_schedule([64] * 100, has_gpu=False)
    starts = [reason.split(':')[0] for reason in schedule.reasons]
    assert starts == ['image_size=32', 'batch_size=16', f'max_iters={schedule.max_iters}']
