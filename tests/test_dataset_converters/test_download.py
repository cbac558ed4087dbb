import io
import tarfile

import pytest

FILES = {'set/list.txt': b'1 a', 'set/images/a.jpg': b'A', 'set/images/deep/list.txt': b'2 b'}


@pytest.fixture
def open_download(converter):
    return converter('download').Download


@pytest.mark.parametrize('kind', ['folder', 'tar', 'tgz', 'zip'])
def test_folders_and_archives_read_alike(open_download, pack, kind):
    download = open_download(pack(FILES, kind))
    assert set(download.names) == set(FILES)
    assert {name: download.read(name) for name in download.names} == FILES
    assert download.find('list.txt') == 'set/list.txt'
    assert download.find('deep/list.txt') == 'set/images/deep/list.txt'
    assert download.image_names() == ['set/images/a.jpg']


def test_what_is_missing_is_named_with_the_way_out(open_download, pack, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'labels\.txt is not in .*set/'):
        open_download(pack(FILES, 'tar')).find('labels.txt')
    with pytest.raises(FileNotFoundError, match='nowhere.tar does not exist; see --help'):
        open_download(tmp_path / 'nowhere.tar')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='holds no files'):
        open_download(tmp_path / 'empty')


@pytest.mark.parametrize('name', ['../evil.jpg', '/etc/evil.jpg', 'a/../../evil.jpg', 'a\\b.jpg'])
@pytest.mark.parametrize('kind', ['tar', 'zip'])
def test_names_that_could_leave_the_folder_are_refused(open_download, pack, name, kind):
    with pytest.raises(ValueError, match='not the official download'):
        open_download(pack({name: b'x'}, kind))


def test_links_in_a_tar_are_not_followed(open_download, tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as archive:
        link = tarfile.TarInfo('passwd.jpg')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        archive.addfile(link)
        info = tarfile.TarInfo('./good.jpg')
        info.size = 1
        archive.addfile(info, io.BytesIO(b'x'))
    assert open_download(tmp_path / 'a.tar').names == ['good.jpg']


@pytest.mark.parametrize('kind', ['tgz', 'zip'])
def test_a_truncated_archive_says_to_download_it_again(open_download, pack, kind):
    path = pack({'a.bin': bytes(range(256)) * 400}, kind)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match='download it again'):
        open_download(path)


def test_what_systems_leave_behind_is_no_image(open_download, pack):
    names = {'a.jpg': b'1', '__MACOSX/a.jpg': b'2', 'sub/._a.jpg': b'3', '.DS_Store': b'4'}
    assert open_download(pack(names, 'zip')).names == ['a.jpg']
