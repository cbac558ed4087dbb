"""Prepare Anime-100: 100 anime portraits at 128 px to train on, others held out.

Download a set of faces or portraits cut from Danbooru2018 (https://gwern.net/crop lists them, for
example the 300,000 "Anime Portraits", 512 px), as a folder or as one tar or zip. Expected: images
(JPEG, PNG, WebP) at any depth, no two of the same name.

Written to data/anime100, as PNG: the central square of each image, resized to --size:

    train/  100 random images
    test/   5,000 others, held out (--num-test; the paper does not state the number)
    unused.txt lists the rest, by their names in the download
"""

from prepared_set import make_parser, run
from random_split import convert_pool


def main(argv: list[str] | None = None) -> None:
    download = 'folder, tar or zip with the images'
    parser = make_parser(__doc__, 'data/anime100', download=download, size=128, num_test=5000)
    convert_pool(parser.parse_args(argv), 'anime100', num_train=100)


if __name__ == '__main__':
    run(main)
