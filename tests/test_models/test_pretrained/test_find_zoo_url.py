"""Models of mmagic's zoo are found by their names."""

import pytest

from disp_plugin.models.pretrained.find_zoo_url import find_zoo_url

PUBLISHED = {
    'biggan_ajbrock-sn_8xb32-1500kiters_imagenet1k-128x128': (
        'biggan/biggan_imagenet1k_128x128_b32x8_best_is_iter_1328000_20211111_122911-28c688bc.pth'
    ),
    'sngan-proj_woReLUinplace_Glr2e-4_Dlr5e-5_ndisc5-2xb128_imagenet1k-128x128': (
        'sngan_proj/sngan_proj_imagenet1k_128_Glr2e-4_Dlr5e-5_ndisc5_b128x2_woReLUinplace_'
        'fid-iter988000_20210730_131424-061bf803.pth'
    ),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_imagenet_models_of_the_papers_tables_are_in_the_zoo(name):
    url = find_zoo_url(name)
    assert url == f'https://download.openmmlab.com/mmediting/{PUBLISHED[name]}'


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"'biggan_imagenet1k-128': no file or folder") as error:
        find_zoo_url('biggan_imagenet1k-128')
    nearest = str(error.value).split('nearest are ')[1].split(', ')
    assert 'biggan_ajbrock-sn_8xb32-1500kiters_imagenet1k-128x128' in nearest
    with pytest.raises(ValueError, match='that has weights$'):
        find_zoo_url('qqqqqqqq')
