"""The shell completes what the commands take."""

import shutil
import subprocess

import pytest

from audiodiff.cli import COMMANDS, main


def completed(script, words):
    """Lets bash source the script and complete the last of the words."""
    line = " ".join(words)
    probe = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; "
        f"COMP_POINT=${{#COMP_LINE}}; f=$(complete -p audiodiff | sed 's/.*-F \\([^ ]*\\).*/\\1/'); $f; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    from contextlib import redirect_stdout

    path = tmp_path_factory.mktemp("completion") / "audiodiff.bash"
    with open(path, "w") as file, redirect_stdout(file):
        assert main(["completion", "bash"]) == 0
    return path


def test_bash_completes_commands(script):
    assert set(completed(script, ["audiodiff", "res"])) == {name for name in COMMANDS if name.startswith("res")}


def test_bash_completes_options_of_the_command(script):
    assert completed(script, ["audiodiff", "vocode", "--mel-p"]) == ["--mel-preset"]
    assert completed(script, ["audiodiff", "score", "--mel-p"]) == []


def test_bash_completes_choices(script):
    assert set(completed(script, ["audiodiff", "completion", "b"])) == {"bash"}


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script(shell, capsys):
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)
