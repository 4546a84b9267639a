"""The command line, `audiodiff COMMAND …`: one file a command, which parses, calls the library and prints.

A command's module is imported when it is asked for, and imports torch and the library when it runs: `--help` is quick.
It has a docstring, whose first line is its help, an EXAMPLE, `add_options(parser)` and `run(options)`.
"""

import gc
import importlib
import itertools
import sys
from collections.abc import Sequence

from audiodiff._version import __version__
from audiodiff.cli.messages import guarded, lenient_output
from audiodiff.cli.parsing import Parser
from audiodiff.utils.config import allow_plugin
from audiodiff.utils.devices import keep_memory

COMMANDS = {
    "resynth": "audio → mel → audio",
    "vocode": "mel → audio",
    "mel": "audio → mel",
    "generate": "nothing, a class or a recording → new sounds",
    "restore": "mend gaps, clipping, missing treble",
    "score": "compare a recording with what was made of it",
    "plot": "draw waveforms, spectrograms and what differs",
    "eval": "tabulate how good a model is, beside a floor and a ceiling",
    "bench": "quality and speed of models beside other vocoders, in one run",
    "scan": "look for what is wrong with recordings",
    "shard": "pack recordings into large files, to train on very many of them",
    "calibrate": "measure recordings and propose sigma_data and a schedule",
    "tune-times": "search the times at which a model sounds best",
    "doctor": "is the installation in order, and a model better than what needs no training",
    "info": "what a model is: licence, data, mel, size",
    "export": "an ONNX file, which runs without torch",
    "regenerate": "make a sound again from the sidecar beside it",
    "push": "put a model on the Hugging Face hub",
    "completion": "make the shell complete commands and options",
    "demo": "a page in the browser: drop a recording, hear what comes back",
}
"""The commands, and their lines in `audiodiff --help`; A-NAME is the module audiodiff.cli.A_NAME."""


YOUNG_OBJECTS = 50_000
"""How many there are before one looks for cycles among them: while torch is imported that took a sixth of the time."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 if some of several files failed, 2 on bad input, 130 if interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    gc.set_threshold(YOUNG_OBJECTS)
    lenient_output()
    return guarded(lambda: _dispatch(arguments))


def _dispatch(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name not in COMMANDS:
        overview = _overview()
        overview.parse_args(arguments)
        overview.error("the command comes first")
    command = importlib.import_module(f"audiodiff.cli.{name.replace('-', '_')}")
    parser = Parser(f"audiodiff {name}", command.__doc__, command.EXAMPLE)
    command.add_options(parser)
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of yours whose classes a model, or --solver my_parts.MySolver, may name; its code runs (may be "
        "given several times)",
    )
    if "" in arguments:
        before = arguments[arguments.index("") - 1]
        parser.error(f"the argument after {before} is empty (is a variable of the shell unset?)")
    for option, value in itertools.pairwise([*arguments, ""]):  # first, since others may name what a module holds
        if option.startswith("--plugin=") or (option == "--plugin" and value):
            allow_plugin(value if option == "--plugin" else option.partition("=")[2])
    options = parser.parse_intermixed_args(arguments[1:])
    keep_memory()
    return command.run(options)


def _overview() -> Parser:
    commands = "\n".join(f"  {name:<12} {line}" for name, line in COMMANDS.items())
    example = f"audiodiff resynth speech.flac out.wav\n\ncommands:\n{commands}"
    parser = Parser("audiodiff", "Diffusion vocoder: turns mel spectrograms into sound.", example)
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help="one of the commands below")
    parser.add_argument("--version", action="version", version=f"audiodiff {__version__}")
    return parser
