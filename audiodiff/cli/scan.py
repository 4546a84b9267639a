"""Look for what is wrong with recordings, before a model learns it.

SOURCE is a folder of any layout, or a manifest. Named are files that cannot be read, hold NaN, are silent, clipped,
off zero, too short, of another sample rate than most, near-duplicates of another, whatever their gain, rate and
encoding, have channels that cancel each other, or are listed with another length or rate. Exit status 1 says that there
is trouble.
"""

import argparse
import json
from pathlib import Path

from audiodiff.cli import checks, parsing
from audiodiff.cli.jobs import check_new_file

EXAMPLE = "audiodiff scan recordings --out scan.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the source, limits and output."""
    parser.add_argument("source", type=checks.recordings, metavar="SOURCE", help="folder or manifest (.jsonl)")
    parser.add_argument(
        "--min-seconds",
        type=checks.number(0),
        default=0.5,
        metavar="S",
        help="shorter is trouble (default: 0.5)",
    )
    parser.add_argument("--out", metavar="SCAN.json", help="also write what is known of every file there")
    parsing.add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Examine the files and print a table or JSON."""
    from audiodiff import audio
    from audiodiff.data.folders import audio_files
    from audiodiff.data.manifest import read_manifest

    source = Path(options.source)
    check_new_file(options.out, options.force, ".json")
    listed = [] if source.is_dir() else read_manifest(source)
    paths = [recording.path for recording in listed] or list(audio_files(source))
    if not paths:
        raise ValueError(f"{source}: holds no audio ({', '.join(sorted(audio.AUDIO_SUFFIXES))})")
    import torch
    from tqdm import tqdm

    from audiodiff.data import scan
    from audiodiff.utils.files import write_text

    torch.set_num_threads(1)  # of single files there is too little to share; on a busy machine it took 30 times as long
    examined = scan.scan(
        paths, scan.Limits(seconds=options.min_seconds), lambda them: tqdm(them, unit="file", disable=None)
    )
    if listed:
        scan.mark_stale(examined, listed)
    text = json.dumps(_described(examined), indent=2)
    if options.out:
        write_text(options.out, text + "\n")
    if options.json:
        print(text)
    else:
        print(f"{scan.totals(examined)}\n\n{scan.table(examined)}")
    return int(any(one.troubles for one in examined))


def _described(examined: list) -> dict:
    import dataclasses
    import math

    def plain(value: object) -> object:
        if isinstance(value, Path):
            return str(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {
        "files": len(examined),
        "hours": sum(one.seconds for one in examined) / 3600,
        "bad": sum(bool(one.troubles) for one in examined),
        "recordings": [{k: plain(v) for k, v in dataclasses.asdict(one).items()} for one in examined],
    }
