"""Make the table that says how good a model is.

A vocoder stands beside what needs no network and a ceiling that knows the phase; every row starts from the same mels of
the same recordings. Measures whose package is missing are left out: pip install 'audiodiff-torch[eval]' brings PESQ,
STOI, DNSMOS and a recogniser of words. A generator (--train) stands beside recordings that it never saw, shaped noise
and its own training recordings: class accuracy, Fréchet distance, diversity, copies.
"""

import argparse
import json

from audiodiff.cli import checks, parsing
from audiodiff.cli.jobs import check_new_file

EXAMPLE = "audiodiff eval speech-16k data/debian_speech/test.jsonl --clips 24"
NEEDS_TRAIN = "{}: is a generator; --train DATA says on what it was trained"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the model, the recordings and how many of them."""
    parser.add_argument("model", type=checks.model, metavar="MODEL", help="shipped name, file or run folder")
    parser.add_argument(
        "data", type=checks.recordings, metavar="DATA", help="manifest (.jsonl) or folder of recordings"
    )
    parser.add_argument(
        "--clips", type=checks.whole(1), default=24, metavar="N", help="recordings, evenly from the list (default: 24)"
    )
    parser.add_argument(
        "--seconds", type=checks.number(0), default=2.0, metavar="S", help="shortest that counts (default: 2)"
    )
    parser.add_argument(
        "--calls", type=checks.counts, default="1,2,4", metavar="N,N", help="network calls (default: 1,2,4)"
    )
    parser.add_argument(
        "--train", type=checks.recordings, metavar="DATA", help="of a generator: the recordings on which it was trained"
    )
    parser.add_argument(
        "--per-label", type=checks.whole(2), default=16, metavar="N", help="of a generator: sounds (default: 16)"
    )
    parser.add_argument(
        "--seeds", type=checks.whole(1), default=3, metavar="N", help="of a generator: sets of them (default: 3)"
    )
    parsing.add_device_option(parser)
    parser.add_argument(
        "--precisions",
        type=checks.precisions,
        metavar="P,P",
        help="of a vocoder: float32,bfloat16 (default: float32, and what is faster here)",
    )
    parser.add_argument("--out", metavar="TABLE.json", help="also write the table there")
    parsing.add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate, print Markdown or JSON."""
    check_new_file(options.out, options.force, ".json")
    if not options.train and checks.kind_of(options.model) == "Generator":
        raise ValueError(NEEDS_TRAIN.format(options.model))
    from audiodiff.data.recordings import recordings_of
    from audiodiff.evaluation import generator_table, vocoder_table
    from audiodiff.models.base import Model
    from audiodiff.models.vocoder import Vocoder
    from audiodiff.utils import devices
    from audiodiff.utils.files import write_text

    model = Model.load(options.model, devices.resolve(options.device))
    if isinstance(model, Vocoder):
        chosen = recordings_of(options.data, options.seconds, options.clips)
        precisions = devices.inference_precisions(model.device, options.precisions)
        rows = vocoder_table.rows_of(model, options.calls, precisions)
        table = vocoder_table.evaluate(model, rows, chosen)
        shown = vocoder_table.markdown(table)
    else:
        if not options.train:
            raise ValueError(NEEDS_TRAIN.format(options.model))
        sources = [recordings_of(source) for source in (options.train, options.data)]
        table = generator_table.evaluate_generator(model, *sources, options.per_label, options.seeds)
        shown = generator_table.markdown_of(table)
    text = json.dumps(table, indent=1) + "\n"
    if options.out:
        write_text(options.out, text)
    print(text if options.json else shown)
    return 0
