"""Prepare a 100-shot set of the low-data literature at 256 px: panda, grumpy_cat or obama.

Download "datasets" by the link of https://github.com/mit-han-lab/data-efficient-gans (the authors
of DiffAugment, who collected them): one zip of all sets. It took the place of one zip a set,
https://data-efficient-gans.mit.edu/datasets/100-shot-panda.zip and so on, which serves as well if
you have it. Give the zip or its unpacked folder; where the zip holds one zip a set, unpack it and
give the set's own. Expected: 100 images in a folder 100-shot-panda, or 100 images and no others.
The AnimalFace sets, animalface_cat (160 images) and animalface_dog (389), come in the same form.

Written to data/<name>, as PNG at --size (the pixels unchanged at 256):

    train/  all images

No image is held out and there is no test.txt: by the protocol of these sets the Fréchet distance
is taken to the images trained on (fid5k-train in the authors' tables), those of train.txt.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

from download import Download
from prepared_set import Chosen, PreparedSet, make_key, make_parser, run


@dataclass(frozen=True)
class FewShotSet:
    """One of the sets.

    Args:
        folder (str): What its folder and its zip are called.
        num (int): Images in it, as stated by the authors.
    """

    folder: str
    num: int = 100


SETS = {
    'panda': FewShotSet('100-shot-panda'),
    'grumpy_cat': FewShotSet('100-shot-grumpy_cat'),
    'obama': FewShotSet('100-shot-obama'),
    'animalface_cat': FewShotSet('AnimalFace-cat', 160),
    'animalface_dog': FewShotSet('AnimalFace-dog', 389),
}


def find_images(download: Download, few_shot: FewShotSet) -> Chosen:
    """Find the images of a set: those in its folder, or all where there is no such folder.

    Args:
        download (Download): One set, or several.
        few_shot (FewShotSet): The set.

    Returns:
        Chosen: Image keys and source names.

    Raises:
        ValueError: The download is that of another set, or the number of images is not the set's.
    """
    names = download.image_names()
    inside = [name for name in names if few_shot.folder in PurePosixPath(name).parts[:-1]]
    for other in SETS.values():
        if not inside and other != few_shot and other.folder in download.path.name:
            raise ValueError(f'{download.path} is {other.folder}; give {few_shot.folder}')
    chosen = {make_key('train', name): name for name in inside or names}
    if len(chosen) != few_shot.num:
        raise ValueError(
            f'{few_shot.folder} has {few_shot.num} images, but {len(chosen)} of different names '
            f'were found in {download.path}; give its own zip or folder, whole (see --help)'
        )
    return chosen


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__, 'data/<name>', seed=None)
    parser.add_argument('name', choices=sorted(SETS), help='which of them')
    parser.add_argument('download', help='the zip or its unpacked folder')
    parser.add_argument('--size', type=int, default=256, help='side in pixels (default: 256)')
    args = parser.parse_args(argv)
    download = Download(args.download)
    chosen = find_images(download, SETS[args.name])
    record = {'converter': args.name, 'size': args.size}
    prepared = PreparedSet(args.out.replace('<name>', args.name), record)
    prepared.write_images('train', chosen, lambda name: download.read_image(name, args.size))


if __name__ == '__main__':
    run(main)
