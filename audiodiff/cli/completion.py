"""Print a script by which a shell completes commands, options and files.

To try it in this shell: eval "$(audiodiff completion bash)"
"""

import argparse
import importlib

EXAMPLE = "audiodiff completion bash > ~/.local/share/bash-completion/completions/audiodiff"
SHELLS = ("bash", "zsh", "tcsh")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the shell."""
    parser.add_argument("shell", choices=SHELLS, help="for which shell")


def run(options: argparse.Namespace) -> int:
    """Build the parser of all commands at once, and print what shtab makes of it."""
    import shtab

    from audiodiff.cli import COMMANDS

    whole = argparse.ArgumentParser("audiodiff", add_help=True)
    commands = whole.add_subparsers(metavar="COMMAND")
    for name, line in COMMANDS.items():
        module = importlib.import_module(f"audiodiff.cli.{name.replace('-', '_')}")
        parser = commands.add_parser(name, help=line)
        module.add_options(parser)
        for action in parser._actions:  # shtab has no other door
            if not action.option_strings and action.choices is None:
                action.complete = shtab.FILE
    print(shtab.complete(whole, options.shell))
    return 0
