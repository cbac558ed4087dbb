"""Prepare all of FFHQ at 128 px: 63,000 of its 70,000 faces to train on, the others held out.

Download "thumbnails128x128" of the Flickr-Faces-HQ data set (70,000 PNGs, 2 GB) by the links of
https://github.com/NVlabs/ffhq-dataset, as a folder or as one tar or zip. The folder images1024x1024
serves as well; its images are then resized. Expected: <five digits>.png at any depth.

Written to data/ffhq, as PNG at --size (the thumbnails' pixels unchanged at 128):

    train/  63,000 random images
    test/   the other 7,000, held out (the numbers are not stated in the paper)
"""

from prepared_set import run
from random_split import convert_pool


def main(argv: list[str] | None = None) -> None:
    convert_pool(argv, __doc__, 'data/ffhq', num_train=63_000, num_test=7_000)


if __name__ == '__main__':
    run(main)
