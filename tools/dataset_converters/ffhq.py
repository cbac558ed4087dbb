"""Prepare faces of FFHQ at 128 px: ffhq, ffhq2k or faces100.

Download "thumbnails128x128" of the Flickr-Faces-HQ data set (70,000 PNGs, 2 GB) by the links of
https://github.com/NVlabs/ffhq-dataset, as a folder or as one tar or zip. The folder images1024x1024
serves as well; its images are then resized. Expected: <five digits>.png at any depth.

Written to data/<name>, as PNG at --size (the thumbnails' pixels unchanged at 128):

    train/  random images: 63,000 (ffhq), 2,000 (ffhq2k) or 100 (faces100); --num-train
    test/   7,000 others, held out (--num-test; the paper does not state the number)
    val/    2,048 others, to choose a snapshot by (--num-val); ffhq has none left
    unused.txt lists the rest, by their names in the download
"""

from prepared_set import make_parser, run
from random_split import convert_pool

NUM_TRAIN = {'ffhq': 63_000, 'ffhq2k': 2000, 'faces100': 100}


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(
        __doc__,
        'data/<name>',
        names=NUM_TRAIN,
        download='folder, tar or zip with the images',
        size=128,
        num_test=7000,
        num_val=2048,
    )
    parser.add_argument('--num-train', type=int, help='images to train on (default: by the name)')
    args = parser.parse_args(argv)
    num_train = NUM_TRAIN[args.name] if args.num_train is None else args.num_train
    convert_pool(args, args.name, num_train)


if __name__ == '__main__':
    run(main)
