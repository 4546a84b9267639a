"""Make new sounds: of a class, of a vector, of nothing, or of a recording that is varied, mended or continued.

Writes OUT_DIR/LABEL-SEED.wav, each with a sidecar from which `audiodiff regenerate` makes it again, and a contact
sheet, OUT_DIR/contact-sheet.png. Clip i takes its noise from seed + i, whatever the number of clips. --init varies a
recording: the more strength, the less of it is left; --inpaint keeps it but for the seconds from --from to --to;
--continue keeps it up to its end, or up to --from, and makes what follows.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audiodiff.cli import checks, loading, parsing
from audiodiff.cli.jobs import refuse_existing

if TYPE_CHECKING:
    from audiodiff.models.generator import Generator
    from audiodiff.pipelines.generation import GenerateRecipe

EXAMPLE = "audiodiff generate hits --model drums --label snare -n 16 --guidance 2"
MOST, LONGEST = 10_000, 3600  # sounds; seconds of one
SHEET = "contact-sheet.png"
SHOWN = 64  # sounds on a contact sheet


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the folder, what is to be made, and how."""
    parser.add_argument("out", nargs="?", metavar="OUT_DIR", help="folder for the sounds; made if it is missing")
    parser.add_argument("--list", action="store_true", help="print the model's labels and do nothing else")
    parser.add_argument("-n", type=checks.whole(1, MOST), default=1, metavar="N", help="how many (default: 1)")
    parser.add_argument("--label", metavar="NAME", help="class (default: none, the model chooses)")
    parser.add_argument("--no-label", action="store_true", help="leave the class open (the default, said aloud)")
    parser.add_argument(
        "--vector",
        type=checks.array,
        metavar="FILE.npy",
        help="what the sound is to be like, for a model that takes one",
    )
    parser.add_argument(
        "--guidance", type=checks.number(0, 100), metavar="G", help="1 obeys the condition, more exaggerates it"
    )
    parser.add_argument("--projected", action="store_true", help="guide by APG: other, but not louder")
    parser.add_argument(
        "--guide", type=checks.generator, metavar="MODEL", help="guide away from this worse model (auto-guidance)"
    )
    parser.add_argument(
        "--seconds",
        type=checks.number(0, LONGEST, above=True),
        metavar="S",
        help="length (default: that of the training clips)",
    )
    parser.add_argument("--init", type=checks.audio_file, metavar="RECORDING", help="vary this recording")
    parser.add_argument(
        "--strength", type=checks.number(0, 1, above=True), metavar="S", help="with --init: 0 to 1 (default: 0.5)"
    )
    parser.add_argument(
        "--inpaint", type=checks.audio_file, metavar="RECORDING", help="keep this recording but for a gap"
    )
    parser.add_argument(
        "--continue",
        dest="continued",
        type=checks.audio_file,
        metavar="RECORDING",
        help="keep this beginning, go on from it",
    )
    parser.add_argument(
        "--from", dest="begin", type=checks.number(0), metavar="S", help="where the gap or continuation begins"
    )
    parser.add_argument("--to", dest="end", type=checks.number(0), metavar="S", help="with --inpaint: where it ends")
    parsing.add_model_options(parser, default="drums")
    parsing.add_solver_options(parser)
    parsing.add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Check, load the model, make the sounds and their picture."""
    _check(options)
    model = checks.known_model(options.model or "drums", "Generator")
    checks.known_label(model, options.label)
    checks.steps_and_times(options.steps, options.times)
    from audiodiff.models.generator import Generator

    generator = loading.load_model(Generator, model, options)
    if options.list:
        print("\n".join(generator.labels))
        return 0
    jobs = _jobs(generator, model, options)
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    status = make_sounds(jobs, generator, options.init or options.inpaint or options.continued, options.json)
    if status == 0:
        _draw(folder, [path for _, path in jobs][:SHOWN], generator.sample_rate)
    return status


def make_sounds(
    jobs: Sequence[tuple["GenerateRecipe", Path]], generator: "Generator", source: str | None, as_json: bool
) -> int:
    """Make a sound of each recipe and write it with its sidecar; return the exit status."""
    from audiodiff.cli.jobs import Batch, Job
    from audiodiff.cli.progress import JobResult, run_jobs
    from audiodiff.cli.sounds import make_sound
    from audiodiff.pipelines.generation import guide_of

    recipes = {path: recipe for recipe, path in jobs}
    guide = guide_of(generator, jobs[0][0])

    def do(job: Job) -> JobResult:
        return make_sound(generator, recipes[job.output], job, guide=guide)

    batch = Batch([Job(Path(source or path), path) for _, path in jobs], None, len(jobs) > 1)
    return run_jobs(batch, do, generator.device, as_json)


def _check(options: argparse.Namespace) -> None:
    if options.list:
        return
    if not options.out:
        raise ValueError("a folder for the sounds is wanted, or --list")
    if sum(bool(source) for source in (options.init, options.inpaint, options.continued)) > 1:
        raise ValueError("--init, --inpaint and --continue: give one of them")
    if options.label is not None and options.no_label:
        raise ValueError("--label and --no-label: give one of them")
    if options.strength is not None and not options.init:
        raise ValueError("--strength says how far --init is varied: give --init RECORDING")
    if options.continued and options.end is not None:
        raise ValueError("--to is for --inpaint: --seconds says where a continuation ends")
    both = options.begin is not None and options.end is not None
    either = options.begin is not None or options.end is not None
    if not options.continued and not bool(options.inpaint) == both == either:
        raise ValueError("--inpaint, --from and --to belong together: give all three")
    if options.inpaint and not 0 <= options.begin < options.end:
        raise ValueError(f"--from {options.begin:g} --to {options.end:g}: the gap ends before it begins")
    if Path(options.out).exists() and not Path(options.out).is_dir():
        raise ValueError(f"{options.out}: is a file; give a folder")


def _jobs(generator: "Generator", model: str, options: argparse.Namespace) -> list[tuple["GenerateRecipe", Path]]:
    """One recipe and one name for each sound; refuses to overwrite."""
    from audiodiff.data.vectors import read_vector
    from audiodiff.pipelines.generation import GenerateRecipe, continuation

    gap = (options.begin, options.end) if options.inpaint else None
    if options.continued:
        gap = continuation(generator, options.continued, options.begin, options.seconds)
    strength = (0.5 if options.strength is None else options.strength) if options.init else None
    first = GenerateRecipe.from_options(
        generator,
        model,
        weights=options.weights,
        seed=options.seed,
        solver=options.solver,
        steps=options.steps,
        times=options.times,
        label=options.label,
        vector=None if options.vector is None else read_vector(options.vector).tolist(),
        guidance=options.guidance,
        projected=options.projected,
        guide=options.guide,
        seconds=options.seconds,
        strength=strength,
        gap=gap,
    )
    import dataclasses

    kind = "variation" if options.init else "continuation" if options.continued else "sound"
    name, folder = options.label or kind, Path(options.out)
    jobs = [
        (dataclasses.replace(first, seed=seed), folder / f"{name}-{seed:04d}.wav")
        for seed in range(options.seed, options.seed + options.n)
    ]
    written = [folder / SHEET, *(Path(f"{path}{end}") for _, path in jobs for end in ("", ".json"))]
    refuse_existing(written, options.force)
    return jobs


def _draw(folder: Path, paths: Sequence[Path], sample_rate: int) -> None:
    from audiodiff import audio
    from audiodiff.evaluation.contact_sheet import contact_sheet

    contact_sheet({path.stem: audio.read(path)[0][0] for path in paths}, sample_rate, folder / SHEET)
