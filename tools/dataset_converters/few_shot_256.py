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

from pathlib import PurePosixPath

from download import Download
from prepared_set import Chosen, make_key, make_parser, prepare_set, run

# name -> its folder and zip in the download, and how many images its authors state
SETS = {
    'panda': ('100-shot-panda', 100),
    'grumpy_cat': ('100-shot-grumpy_cat', 100),
    'obama': ('100-shot-obama', 100),
    'animalface_cat': ('AnimalFace-cat', 160),
    'animalface_dog': ('AnimalFace-dog', 389),
}


def find_images(download: Download, name: str) -> Chosen:
    """Find the images of a set: those in its folder, or all where there is no such folder.

    Raises:
        ValueError: The download is that of another set, or the number of images is not the set's.
    """
    folder, num = SETS[name]
    names = download.image_names()
    inside = [name for name in names if folder in PurePosixPath(name).parts[:-1]]
    for other, _ in SETS.values():
        if not inside and other != folder and other in download.path.name:
            raise ValueError(f'{download.path} is {other}; give {folder}')
    chosen = {make_key('train', name): name for name in inside or names}
    if len(chosen) != num:
        raise ValueError(
            f'{folder} has {num} images, but {len(chosen)} of different names were found in '
            f'{download.path}; give its own zip or folder, whole (see --help)'
        )
    return chosen


def main(argv: list[str] | None = None) -> None:
    download_help = 'the zip or its unpacked folder'
    parser = make_parser(
        __doc__, 'data/<name>', seed=False, names=SETS, download=download_help, size=256
    )
    args = parser.parse_args(argv)
    download = Download(args.download)
    chosen = find_images(download, args.name)
    record = {'converter': args.name, 'size': args.size}
    with prepare_set(args.out.replace('<name>', args.name), record) as prepared:
        download.prepare(prepared, {'train': chosen}, args.size)


if __name__ == '__main__':
    run(main)
