"""Pack recordings into a few large files, to train on corpora of very many files, or larger than the disk.

SOURCE is a folder of any layout, or a manifest. Recordings are cut into pieces, mixed to mono, shuffled, and written as
FLAC of 16 bits; without --valid, the last 4 % of them by name are held out. OUT may then be copied to a bucket. Train
with data=shards data.path=OUT, or, where sub-folders or labels are classes, data=labelled-shards data.path=OUT.
"""

import argparse
import json
from pathlib import Path

from audiodiff.cli import checks, parsing

EXAMPLE = "audiodiff shard recordings shards"
CLIPS, SECONDS = 200, 1.0  # that are read to tell how fast that is


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add source, output and sizes."""
    parser.add_argument("source", type=checks.recordings, metavar="SOURCE", help="folder or manifest (.jsonl)")
    parser.add_argument("out", metavar="OUT", help="a new folder")
    parser.add_argument(
        "--valid", type=checks.recordings, metavar="SOURCE", help="folder or manifest of what validates"
    )
    parser.add_argument(
        "--seconds",
        type=checks.number(0, 600, above=True),
        default=10.0,
        metavar="S",
        help="longest piece (default: 10)",
    )
    parser.add_argument(
        "--chunk-mb",
        type=checks.number(0, 2000, above=True),
        default=64.0,
        metavar="MB",
        help="size of a file (default: 64)",
    )
    parser.add_argument(
        "--max-bad",
        type=checks.number(0, 1),
        default=0.05,
        metavar="SHARE",
        help="of recordings that may be unreadable (0.05)",
    )
    parsing.add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Pack, read some clips, and tell how much and how fast."""
    if Path(options.out).exists():
        raise ValueError(f"{options.out}: exists; give the name of a new folder")
    import time

    from tqdm import tqdm

    from audiodiff.data.recordings import held_out, recordings_of
    from audiodiff.data.shards.writing import pack

    recordings = recordings_of(options.source)
    training, validation = (recordings, recordings_of(options.valid)) if options.valid else held_out(recordings)
    begun = time.perf_counter()
    facts = pack(
        training,
        validation,
        Path(options.out),
        options.seconds,
        options.chunk_mb,
        options.max_bad,
        lambda pieces, count: tqdm(pieces, total=count, unit="piece", disable=None),
    )
    facts |= {"elapsed_seconds": time.perf_counter() - begun, "clips_per_second": _clips_per_second(options.out)}
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        print(
            f"{facts['recordings']} recordings, {facts['hours']:.2f} h in {facts['pieces']} pieces and "
            f"{facts['chunks']} files of {facts['bytes'] / 1e6:.1f} MB together, packed in "
            f"{facts['elapsed_seconds']:.1f} s; {facts['clips_per_second']:.0f} clips of {SECONDS:g} s read a second"
        )
    return 0


def _clips_per_second(out: str) -> float:
    """Read clips in the order of training, on one core."""
    import time

    from audiodiff.data.crops import Crops
    from audiodiff.data.shards.corpus import Corpus
    from audiodiff.data.shards.streaming import ClipStream, StreamLoader

    corpus = Corpus(out)
    rate = corpus.sample(1)[0].sample_rate
    stream = ClipStream(corpus, lambda pieces: Crops(pieces, int(SECONDS * rate), rate))
    begun = time.perf_counter()
    for _ in zip(range(CLIPS), StreamLoader(stream, 1, 0, CLIPS), strict=False):
        pass
    return CLIPS / (time.perf_counter() - begun)
