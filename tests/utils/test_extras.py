"""The distribution has one name, and every message and page that says how to install it uses that name."""

import re
import tomllib

from support.tree import ROOT

from audiodiff.utils.extras import DISTRIBUTION

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOLDERS = ("audiodiff", "conf", "datasets", "demos", "tests", ".ci", ".github")
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".sh", ".ipynb", ".json", ".cff", ""}


def texts():
    """Every text file of the tree, with its path."""
    files = [*ROOT.glob("*.*"), *ROOT.glob("Makefile")]
    files += [file for folder in FOLDERS for file in (ROOT / folder).rglob("*")]
    for file in files:
        if file.is_file() and file.suffix in TEXT and "__pycache__" not in file.parts:
            yield file.relative_to(ROOT), file.read_text(encoding="utf-8")


def test_no_page_or_message_installs_another_project():
    wrong = re.compile(r"pip install[^\n`&;]*\baudiodiff(?!-torch)(?![\w./-])")  # the name on the index is a stranger's
    found = [f"{path}: {match.group()}" for path, text in texts() for match in wrong.finditer(text)]
    assert not found, "\n".join(found)


def test_every_extra_that_is_named_exists():
    named = {extra for _, text in texts() for extras in re.findall(rf"{DISTRIBUTION}\[([\w, -]+)\]", text)
             for extra in re.split(r",\s*", extras)}  # fmt: skip
    assert named <= PROJECT["optional-dependencies"].keys()
    assert {"demo", "eval", "export", "hub", "tune"} <= named


def test_messages_and_project_file_agree_on_the_name():
    assert PROJECT["name"] == DISTRIBUTION


def test_install_commands_are_written_in_one_module():
    package, command = ROOT / "audiodiff", re.compile(rf"""(?<!")"[^"\n]*pip install '{DISTRIBUTION}""")
    found = [path for path in package.rglob("*.py") if command.search(path.read_text(encoding="utf-8"))]
    assert [path.relative_to(package).as_posix() for path in found] in ([], ["utils/extras.py"])
