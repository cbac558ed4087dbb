"""Prepare Faces-100: 100 faces of FFHQ at 128 px to train on, others held out.

Download "thumbnails128x128" of the Flickr-Faces-HQ data set (70,000 PNGs, 2 GB) by the links of
https://github.com/NVlabs/ffhq-dataset, as a folder or as one tar or zip. The folder images1024x1024
serves as well; its images are then resized. Expected: <five digits>.png at any depth.

Written to data/faces100, as PNG at --size (the thumbnails' pixels unchanged at 128):

    train/  100 random images
    test/   7,000 others, held out (--num-test; the number is not stated in the paper)
    unused.txt lists the rest, by their names in the download
"""

from prepared_set import run
from random_split import convert_pool


def main(argv: list[str] | None = None) -> None:
    convert_pool(argv, __doc__, 'data/faces100', num_train=100, num_test=7000)


if __name__ == '__main__':
    run(main)
