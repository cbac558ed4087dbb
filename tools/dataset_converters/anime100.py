"""Prepare Anime-100: 100 anime portraits at 128 px to train on, others held out.

Download a set of faces or portraits cut from Danbooru2018 (https://gwern.net/crop lists them, for
example the 300,000 "Anime Portraits", 512 px), as a folder or as one tar or zip. Expected: images
(JPEG, PNG, WebP) at any depth, no two of the same name.

Written to data/anime100, as PNG: the central square of each image, resized to --size:

    train/  100 random images (--num-train; the paper also has 25 to 500)
    test/   5,000 others, held out (--num-test; the paper does not state the number)
    val/    2,048 others, to choose a snapshot by (--num-val)
    unused.txt lists the rest, by their names in the download

Smaller training sets are parts of larger ones, and the test images are the same for all.
"""

from prepared_set import make_parser, run
from random_split import convert_pool


def main(argv: list[str] | None = None) -> None:
    download = 'folder, tar or zip with the images'
    parser = make_parser(
        __doc__,
        'data/anime100',
        download=download,
        size=128,
        num_test=5000,
        num_val=2048,
        num_train=100,
    )
    args = parser.parse_args(argv)
    convert_pool(args, 'anime100', args.num_train)


if __name__ == '__main__':
    run(main)
