"""Measure a bank that does not fit into memory: opening, look-up, memory.

python tools/benchmarks/bank_at_scale.py --rows 10000 100000 1000000 --dim 2048

Banks of random priors are written block by block, opened and looked up at random in a process of
their own, and deleted. Reported for each: seconds to open (best of 5; 'first' with the imports of
mmagic done but nothing read), look-ups a second in batches of 64 at the first touch of each block,
which is then compared with its checksum, and again once all is cached, and the anonymous memory
(RssAnon: without pages of the file) that 100,000 random look-ups added.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BATCH_SIZE = 64
BLOCK_ROWS = 4096
NUM_LOOKUPS = 100_000
TO_REACH = dict(open_seconds=0.2, lookups_per_s=50_000, rss_anon_megabytes=200)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rows', type=int, nargs='+', default=[10_000, 100_000, 1_000_000])
    parser.add_argument('--dim', type=int, default=2048)
    parser.add_argument('--folder', help='where banks are written (default: the temporary folder)')
    parser.add_argument('--measure', help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def name_image(row: int) -> str:
    """Name an image as large data sets do: a folder of a thousand, and a number."""
    return f'train/{row // 1000:05d}/image_{row:09d}.jpg'


def write_bank(file: Path, num_rows: int, dim: int) -> None:
    """Write a bank of random float16 priors, of which no more than a block is in memory."""
    import numpy as np

    from disp_plugin.priors import BankOrigin
    from disp_plugin.priors.bank_file import write_bank_file
    from disp_plugin.priors.key_index import KeyIndex

    def blocks() -> Iterator[Any]:
        rng = np.random.default_rng(0)
        # Noise is dear; each block is the first, shifted, with its rows' numbers in front.
        noise = rng.random((BLOCK_ROWS, 1, dim), dtype=np.float32).astype(np.float16)
        for start in range(0, num_rows, BLOCK_ROWS):
            block = np.roll(noise, start // BLOCK_ROWS, axis=0)[: num_rows - start]
            rows = np.arange(start, start + len(block))
            block[:, 0, 0], block[:, 0, 1] = rows // 1000, rows % 1000
            yield block

    keys = KeyIndex.from_keys(map(name_image, range(num_rows)))
    sizes = np.zeros(num_rows, dtype=np.int64)
    write_bank_file(file, keys, sizes, BankOrigin(), blocks, (num_rows, 1, dim), np.float16)


def anonymous_megabytes() -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('RssAnon')) / 1024


def time_lookups(bank: Any, seed: int, num: int) -> float:
    """Look up random keys in batches, and give how many a second."""
    import numpy as np

    rows = np.random.default_rng(seed).integers(0, len(bank), (num // BATCH_SIZE, BATCH_SIZE))
    seconds = 0.0
    for batch in rows.tolist():
        keys = [name_image(row) for row in batch]
        start = time.perf_counter()
        priors = bank.lookup(keys)
        seconds += time.perf_counter() - start
        found = priors[:, 0].double() * 1000 + priors[:, 1].double()
        if found.tolist() != batch:
            raise RuntimeError(f'rows {batch} were looked up, but {found.tolist()} came')
    return rows.size / seconds


def measure(file: str) -> dict[str, Any]:
    """Open a bank and look priors up."""
    from disp_plugin.priors import PriorBank

    opened = []
    for _ in range(6):
        start = time.perf_counter()
        bank = PriorBank.open(file)
        opened.append(time.perf_counter() - start)
    time_lookups(bank, 1, BATCH_SIZE)  # what torch itself allocates at its first use
    before = anonymous_megabytes()
    first = time_lookups(bank, 2, NUM_LOOKUPS)
    grown = anonymous_megabytes() - before
    cached = [time_lookups(bank, 2, NUM_LOOKUPS) for _ in range(3)]
    return {
        'rows': bank.num_images,
        'dim': bank.prior_dim,
        'file_gigabytes': round(os.path.getsize(file) / 1e9, 3),
        'open_seconds_first': round(opened[0], 5),
        'open_seconds': round(min(opened[1:]), 5),
        'lookups_per_s_first_touch': round(first),
        'lookups_per_s': round(sorted(cached)[1]),
        'rss_anon_megabytes': round(grown, 1),
    }


def measure_apart(num_rows: int, args: argparse.Namespace) -> dict[str, Any]:
    """Write a bank and measure it in a new process, whose memory is its own."""
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        file = Path(folder) / 'bank.safetensors'
        start = time.perf_counter()
        write_bank(file, num_rows, args.dim)
        seconds = time.perf_counter() - start
        command = [sys.executable, __file__, '--measure', str(file)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {**json.loads(done.stdout.splitlines()[-1]), 'write_seconds': round(seconds, 1)}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    results = [measure_apart(num_rows, args) for num_rows in args.rows]
    print(json.dumps({'banks': results, 'to_reach': TO_REACH}, indent=1))


if __name__ == '__main__':
    main()
