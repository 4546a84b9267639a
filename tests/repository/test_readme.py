"""The README's commands and code are the ones that run."""

import re

from support.tree import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_ci_runs_the_readmes_test_command_as_it_stands():
    commands = [line for block in blocks("sh") for line in block.splitlines() if "pytest" in line]
    assert len(commands) == 1
    assert commands[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_readme_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for code in blocks("python"):
        exec(compile(code.replace('"out.wav"', repr(str(tmp_path / "out.wav"))), "README.md", "exec"), {})
        printed = capsys.readouterr().out.splitlines()
        told = [line.partition("#")[2].strip() for line in code.splitlines() if line.startswith("print")]
        assert len(printed) == len(told) > 0
        assert all(line == comment for line, comment in zip(printed, told, strict=True) if comment)
    assert (tmp_path / "out.wav").stat().st_size > 44


def test_readme_fits_one_page():
    assert len(README.splitlines()) <= 120
