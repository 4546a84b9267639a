"""Check the installation, or tell a bug in a model from too little training.

Without MODEL: processor, threads, compiled loops, card, audio formats, caches and extras, with remedies and a verdict.
With one, it is compared with what needs no training at all: at each noise level the denoising error stands beside that
of saying nothing, of the noisy input and of a Wiener filter that knows the mean spectrum. Said are also how loud the
recordings are against the training data, whether their mels are alike, and how old the averaged weights are; a verdict
ends it. Exit status 1: something is wrong. Without DATA, the four clips of speech that come along are used.
"""

import argparse
import dataclasses
import json

from audiodiff.cli import checks, parsing

EXAMPLE = "audiodiff doctor runs/mine recordings"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the model, the recordings and output."""
    parser.add_argument(
        "model", nargs="?", type=checks.model, metavar="MODEL", help="shipped name, file, run folder or .ckpt"
    )
    parser.add_argument(
        "data", nargs="?", type=checks.recordings, metavar="DATA", help="manifest (.jsonl) or folder of recordings"
    )
    parser.add_argument(
        "--clips", type=checks.whole(1), default=16, metavar="N", help="recordings that are used (default: 16)"
    )
    parser.add_argument("--seed", type=checks.seed, default=0, metavar="N", help="of the noise (default: 0)")
    parsing.add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Examine, print a table or JSON, and say by a sentence and the exit status how it is."""
    if options.model is None:
        return _installation(options.json)
    from audiodiff.data.recordings import recordings_of
    from audiodiff.evaluation import diagnosis
    from audiodiff.models.base import Model
    from audiodiff.models.vocoder import Vocoder
    from audiodiff.utils.config import shipped_path

    model = Model.load(options.model)
    if options.data is None and not isinstance(model, Vocoder):
        raise ValueError(f"{options.model}: a {type(model).__name__} needs DATA: give recordings as it should make")
    try:
        raw = Model.load(options.model, weights="raw")
    except ValueError:
        raw = None
    recordings = recordings_of(options.data or shipped_path("datasets/clips/speech"), count=options.clips)
    report = diagnosis.examine(model, recordings, raw=raw, seed=options.seed)
    verdict = diagnosis.verdict(report)
    if options.json:
        levels = [dataclasses.asdict(level) | {"gain": level.gain} for level in report.levels]
        facts = {"levels": levels, "troubles": report.troubles, "remarks": report.remarks, "verdict": verdict}
        print(json.dumps(facts, indent=2))
    else:
        print("| log-SNR | model, dB | zero | input | Wiener | gain |\n|---|---|---|---|---|---|")
        for level in report.levels:
            values = (level.model, level.zero, level.input, level.wiener, level.gain)
            print(f"| {level.log_snr:+.0f} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
        print()
        for line in report.remarks:
            print(f"- {line}")
        for line in report.troubles:
            print(f"- TROUBLE: {line}")
        print(f"\n{verdict}")
    return int(bool(report.troubles))


def _installation(as_json: bool) -> int:
    """Examine what is installed here."""
    from audiodiff.evaluation.installation import examine_installation, verdict

    findings = examine_installation()
    if as_json:
        print(json.dumps({"findings": list(map(dataclasses.asdict, findings)), "verdict": verdict(findings)}, indent=2))
    else:
        for finding in findings:
            mark = {True: "good", False: "TROUBLE", None: ""}[finding.is_good]
            print(f"{finding.what:<20}{mark:<9}{finding.text}")
        print(f"\n{verdict(findings)}")
    return int(any(finding.is_good is False for finding in findings))
