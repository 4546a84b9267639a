"""The parser of a command, and the options that several commands have."""

import argparse
import difflib
import re
from typing import Any, NoReturn

from audiodiff.cli import checks
from audiodiff.cli.messages import signature

MOST_WORKERS = 1024


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
