"""Measure a bank that does not fit into memory: opening, look-up, memory.

python benchmarks/bank_at_scale.py --rows 10000 100000 1000000 --dim 2048

Banks of random priors are written block by block, opened and looked up at random in a process of
their own, and deleted. Reported for each: seconds to open (the first time, and the best of five
more), the anonymous memory (RssAnon: without pages of the file) that 100,000 random look-ups added,
and look-ups a second in batches of 64: those that touch blocks for the first time, which are then
compared with their checksums, and once all is cached, as medians over turns; 'last_against_first'
is the median ratio of the last bank's rate to the first one's within a turn.
"""

import argparse
import json
import os
import statistics
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
ROUNDS = 5
TO_REACH = dict(open_seconds=0.2, lookups_per_s=50_000, rss_anon_megabytes=200)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rows', type=int, nargs='+', default=[10_000, 100_000, 1_000_000])
    parser.add_argument('--dim', type=int, default=2048)
    parser.add_argument('--folder', help='where banks are written (default: the temporary folder)')
    parser.add_argument('--measure', nargs='+', help=argparse.SUPPRESS)
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


def measure(file: str) -> tuple[Any, dict[str, Any]]:
    """Open a bank and look priors up for the first time."""
    from disp_plugin.priors import PriorBank

    opened = []
    for _ in range(6):
        start = time.perf_counter()
        bank = PriorBank.open(file)
        opened.append(time.perf_counter() - start)
    time_lookups(bank, 1, BATCH_SIZE)  # what torch itself allocates at its first use
    before = anonymous_megabytes()
    first = time_lookups(bank, 2, NUM_LOOKUPS)
    return bank, {
        'rows': bank.num_images,
        'dim': bank.prior_dim,
        'file_gigabytes': round(os.path.getsize(file) / 1e9, 3),
        'open_seconds_first': round(opened[0], 5),
        'open_seconds': round(min(opened[1:]), 5),
        'rss_anon_megabytes': round(anonymous_megabytes() - before, 1),
        'lookups_per_s_first_touch': round(first),
    }


def measure_all(files: list[str]) -> dict[str, Any]:
    """Measure banks, their look-ups in turns, so that other work on the machine hits all."""
    banks, results = zip(*map(measure, files), strict=True)
    rates = [[time_lookups(bank, 2, NUM_LOOKUPS) for bank in banks] for _ in range(ROUNDS)]
    for number, result in enumerate(results):
        result['lookups_per_s'] = round(statistics.median(turn[number] for turn in rates))
    ratio = statistics.median(turn[-1] / turn[0] for turn in rates)
    return {'banks': results, 'last_against_first': round(ratio, 2), 'to_reach': TO_REACH}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.measure:
        print(json.dumps(measure_all(args.measure), indent=1))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        files = [str(Path(folder) / f'{num_rows}.safetensors') for num_rows in args.rows]
        for file, num_rows in zip(files, args.rows, strict=True):
            write_bank(Path(file), num_rows, args.dim)
        # In a new process, whose memory is that of looking up.
        subprocess.run([sys.executable, __file__, '--measure', *files], check=True)


if __name__ == '__main__':
    main()
