"""What the commands share: options, the loading of a model, and how an error is told."""

import argparse
import contextlib
import difflib
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from audiodiff.cli import checks
from audiodiff.models import registry
from audiodiff.utils.files import refusal
from audiodiff.utils.signals import Stopped, stoppable

if TYPE_CHECKING:
    from audiodiff.mel import MelSpec
    from audiodiff.models.base import Model
    from audiodiff.models.vocoder import Vocoder
    from audiodiff.pipelines.vocoding import VocodeRecipe

M = TypeVar("M", bound="Model")

LARGEST_SPEC = 1_000_000  # characters
MOST_WORKERS = 1024
INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 + the number of the signal, as a shell reports it


class Parser(argparse.ArgumentParser):
    """Parse a command's arguments; tell an error in one line.

    Args:
        prog: The command as typed.
        description: What it does.
        example: What one may type; ends the help.
    """

    def __init__(self, prog: str, description: str, example: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and what may have been meant, and leave with status 2."""
        self.exit(2, f"{signature(trouble=True)} {message}{self._meant(message)}; see {self.prog} --help\n")

    def _meant(self, message: str) -> str:
        """Name the option or choice nearest to one that is unknown."""
        if unknown := re.search(r"unrecognized arguments: (?:.* )?(--[\w-]+)", message):
            known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        elif unknown := re.search(r"invalid choice: '([^']*)'", message):
            known = [str(choice) for action in self._actions for choice in action.choices or ()]
        else:
            return ""
        near = difflib.get_close_matches(unknown[1], known, n=1)
        return f" (did you mean {near[0]}?)" if near else ""


def add_model_options(parser: argparse.ArgumentParser, default: str = "speech-24k") -> None:
    """Add --model, --weights, --device and --precision."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", metavar="PATH|NAME", help=f"shipped name, file, run folder or .ckpt (default: {default})"
    )
    add_weights_option(group)
    add_device_option(group)
    group.add_argument(
        "--precision",
        default="float32",
        type=checks.one_of("float32", "bfloat16", "auto"),
        metavar="float32|bfloat16|auto",
        help="in which the network multiplies; auto: what is fastest here (default: float32, exact in windows)",
    )


def add_weights_option(parser: Any) -> None:
    """Add --weights to a parser or a group of one."""
    parser.add_argument(
        "--weights",
        default="ema",
        type=checks.one_of("ema", "raw"),
        metavar="ema|raw",
        help="averaged or last weights (default: ema)",
    )


def add_device_option(parser: Any) -> None:
    """Add --device to a parser or a group of one."""
    parser.add_argument(
        "--device",
        default="auto",
        type=checks.device,
        metavar="auto|cpu|cuda|mps",
        help="where to run (default: auto)",
    )


def add_mel_options(parser: argparse.ArgumentParser) -> None:
    """Add --mel-preset and --mel-spec."""
    from audiodiff.utils.config import choices

    group = parser.add_argument_group("mel")
    names = ", ".join(name for name in choices("mel") if name[0].isalpha())
    group.add_argument(
        "--mel-preset",
        type=checks.mel_preset,
        metavar="NAME",
        help=f"the convention of another library: {names}; or of an acoustic model, such as chatterbox",
    )
    group.add_argument(
        "--mel-spec",
        type=checks.mel_spec,
        metavar="FILE.json",
        help="a convention, field by field, as `audiodiff info --json` shows it",
    )


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """Add --steps, --solver, --times, --seed, --start and --chunk-seconds."""
    group = add_solver_options(parser)
    group.add_argument(
        "--start",
        type=checks.start,
        metavar="NAME",
        help="noise, mel, griffin-lim, coarse-to-fine or real-time, or with iterations: griffin-lim=32, "
        "coarse-to-fine=1/4/8/16 (of all bins, half, a quarter, an eighth), real-time=3/16 (frames of look-ahead, "
        "iterations); fewer look less far ahead (default: the model's own)",
    )
    group.add_argument(
        "--chunk-seconds",
        type=checks.chunk_seconds,
        metavar="S",
        help="seconds that are worked on at once; bounds memory (default: 20 to 40 of a sound of more than 60)",
    )


def add_solver_options(parser: argparse.ArgumentParser) -> Any:
    """Add --steps, --solver, --times and --seed; return their group."""
    from audiodiff.utils.config import choices

    group = parser.add_argument_group("sampling")
    group.add_argument("--steps", type=checks.steps, metavar="N", help="solver steps (default: the model's own)")
    names = ", ".join(choices("solver"))
    group.add_argument("--solver", type=checks.solver, metavar="NAME", help=f"{names} (default: the model's own)")
    group.add_argument(
        "--times",
        type=checks.times,
        metavar="GRID",
        help="even-t, even-log-snr, karras, quadratic, or numbers from 1 to 0 such as 1,0.6,0 (default: those searched "
        "for the model, else the solver's: even-t or even-log-snr)",
    )
    group.add_argument("--seed", type=checks.seed, default=0, metavar="N", help="of the noise (default: 0)")
    return group


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add --force and --json."""
    parser.add_argument("-f", "--force", action="store_true", help="overwrite files that exist")
    add_json_option(parser)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")


def add_workers_option(parser: argparse.ArgumentParser) -> None:
    """Add --workers and --ray."""
    group = parser.add_argument_group("large folders").add_mutually_exclusive_group()
    group.add_argument(
        "--workers", type=checks.whole(1, MOST_WORKERS), metavar="N", help="use N processes; skip what is whole"
    )
    group.add_argument(
        "--ray",
        metavar="auto|ADDRESS",
        help="use a Ray cluster: the one that runs here, or HOST:PORT; skip what is whole",
    )


def convention_of(options: argparse.Namespace) -> "MelSpec | None":
    """Read --mel-preset or --mel-spec; None without them.

    Raises:
        ValueError: Both are given, the name is unknown, or the file describes no mel.
    """
    from audiodiff.mel import MelSpec

    if options.mel_preset and options.mel_spec:
        raise ValueError("--mel-preset and --mel-spec say the same: give one of them")
    if options.mel_preset:
        return MelSpec.preset(options.mel_preset)
    if not options.mel_spec:
        return None
    try:
        with open(options.mel_spec, encoding="utf-8") as file:
            told = json.loads(file.read(LARGEST_SPEC))
    except (ValueError, RecursionError):
        raise ValueError(f"{options.mel_spec}: is no JSON; give the fields of a mel spec") from None
    inner = told.get("mel") if isinstance(told, dict) else None  # all that `audiodiff info --json` prints may be given
    try:
        return MelSpec.from_dict(inner if isinstance(inner, dict) else told)
    except ValueError as error:
        raise ValueError(f"{options.mel_spec}: {error}") from None


def load_vocoder(options: argparse.Namespace) -> "Vocoder":
    """Load the vocoder of --model, once all that is known without torch is checked."""
    name = checks.known_model(options.model or registry.DEFAULT_MODEL, "Vocoder")
    if "times" in options:
        checks.steps_and_times(options.steps, options.times)
    from audiodiff.griffin_lim.kernels import dispatch
    from audiodiff.models.vocoder import Vocoder

    vocoder = load_model(Vocoder, name, options)
    if vocoder.device.type == "cpu":
        dispatch.prepare()
    return vocoder


def load_model(kind: type[M], model: str, options: argparse.Namespace) -> M:
    """Load a model with --weights onto --device, which multiplies in --precision."""
    from audiodiff.utils import devices

    device = devices.resolve(options.device)
    precision = devices.inference_precision(device, options.precision)
    built = kind.load(model, device, options.weights)
    built.precision = precision
    return built


def recipe_of(command: str, vocoder: "Vocoder", options: argparse.Namespace) -> "VocodeRecipe":
    """Turn the sampling options into a recipe."""
    from audiodiff.pipelines.vocoding import VocodeRecipe

    seconds, frames = options.chunk_seconds, None
    if seconds is not None:
        frames = max(1, round(seconds * vocoder.sample_rate / vocoder.hop_length))
    return VocodeRecipe.from_options(
        command,
        vocoder,
        options.model or registry.DEFAULT_MODEL,
        weights=options.weights,
        seed=options.seed,
        solver=options.solver,
        steps=options.steps,
        times=options.times,
        start=options.start,
        chunk_frames=frames,
        mel=convention_of(options) if command == "vocode" else None,
    )


def signature(trouble: bool = False) -> str:
    """Return the name before a line on standard error: red for trouble, on a terminal that wants colours."""
    plain = not sys.stderr.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return "\033[1;31maudiodiff:\033[0m" if trouble and not plain else "audiodiff:"


def say(message: str, trouble: bool = False) -> None:
    """Print one line on standard error; what a file's name must not do to a terminal is escaped."""
    line = " ".join(message.splitlines())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    print(signature(trouble), shown, file=sys.stderr)


def lenient_output() -> None:
    """Write what standard output and error cannot encode as `?`, as on a terminal of cp1252 or koi8-r."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def stages() -> Generator[Callable[[str], None]]:
    """Show the name of a long command's present stage: one line, rewritten, on a terminal."""
    from tqdm import tqdm

    with tqdm(bar_format="{desc}", leave=False, disable=None) as bar:
        yield lambda stage: bar.set_description_str(f"audiodiff: {stage}")


def guarded(run: Callable[[], int]) -> int:
    """Run, and turn whatever goes wrong into one line and an exit status."""
    logging.basicConfig(format="audiodiff: %(message)s", level=logging.WARNING)
    try:
        with stoppable():
            status = _status(run)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except KeyboardInterrupt as stop:
        say("interrupted; what was not finished is not written")
        return stop.status if isinstance(stop, Stopped) else INTERRUPTED
    except OSError as error:
        say(refusal(error), trouble=True)
    except ValueError as error:
        say(str(error), trouble=True)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        say("out of memory; give a shorter recording, or --chunk-seconds 10", trouble=True)
    return 2


def _status(run: Callable[[], int]) -> int:
    try:
        return run()
    except SystemExit as stop:  # argparse has said what it had to say
        return stop.code if isinstance(stop.code, int) else 0


def out_of_memory(error: Exception) -> bool:
    """Return whether the memory of the host or of a device was exhausted."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)


def _discard_output() -> None:
    """Point standard output at nothing, so that Python does not complain when it flushes it at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
