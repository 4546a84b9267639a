"""The README's commands and code are the ones that run."""

import csv
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


def test_files_named_in_the_readme_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_measured_table_of_adaptation_is_that_of_the_csv_and_says_what_is_said_of_it():
    with open(ROOT / "demos/experiments/adaptation/results.csv", encoding="utf-8") as file:
        by_seed = {(row["variant"], row["seed"]): row for row in csv.DictReader(file)}
    names = list(dict.fromkeys(name for name, _ in by_seed))
    assert set(by_seed) == {(name, seed) for name in names for seed in ("0", "1")}
    numbers = [measure for measure in by_seed[names[0], "0"] if measure not in ("variant", "seed")]
    rows = {n: {m: sum(float(by_seed[n, s][m]) for s in ("0", "1")) / 2 for m in numbers} for n in names}
    shown = README.partition("<!-- adapt -->")[2].partition("<!-- end of adapt -->")[0].strip().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown]
    measures = [f"{voice} {m}" for voice in ("new", "old") for m in ("pesq_wb", "log_mel_l1", "mr_stft")] + [
        "old lsd_db"
    ]
    assert cells == [[name, *(f"{row[m]:.3f}" for m in measures)] for name, row in rows.items()]
    for held in ("replay", "EWC", "L2-SP"):
        for measure in ("old mr_stft", "old lsd_db", "old log_mel_l1"):
            assert rows[f"too fast, {held}"][measure] < rows["too fast"][measure]
    for naive in ("fine-tuned", "too fast"):
        assert rows[naive]["old mr_stft"] > rows["not adapted"]["old mr_stft"]  # there is a loss to avoid
        assert rows[f"{naive}, replay"]["old lsd_db"] < rows["not adapted"]["old lsd_db"]
