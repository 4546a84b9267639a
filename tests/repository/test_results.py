"""The pages of results, and the README's table, say what the CSV and JSON files hold."""

import csv

import pytest
from support.tree import ROOT, load_script

EXPERIMENTS = sorted(path.parent for path in (ROOT / "demos/experiments").glob("*/run.py"))


@pytest.fixture(scope="module")
def results():
    return load_script("demos/docs/results.py")


def rows(name):
    with (ROOT / "demos/experiments" / name / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_generated_pages_and_readme_match_their_sources(results):
    for path, text in results.written().items():
        assert path.read_text(encoding="utf-8") == text, f"python demos/docs/results.py writes {path}"


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=lambda folder: folder.name)
def test_experiment_states_its_command_and_has_a_page(folder, results):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert f"python demos/experiments/{folder.name}/run.py" in text
    assert (results.PAGES / f"{folder.name}.md").is_file()


def test_marker_is_replaced_by_the_chosen_columns(results, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    (tmp_path / "results.csv").write_text("name,pesq_wb,x real time\na,1.5,20\n")
    (tmp_path / "README.md").write_text("# T\n\n<!-- results.csv | x real time | pesq_wb -->\n")
    assert "| × real time | PESQ-wb |\n|---|---|\n| 20 | 1.5 |\n" in results.page(tmp_path)


def test_front_table_refuses_a_row_that_no_evaluation_has(results):
    row = {"system": "ours", "model": "speech-16k", "row": "the recordings", "calls": "7"}
    with pytest.raises(SystemExit, match="0 rows"):
        results.front([row])


def test_adaptation_says_what_its_numbers_say():
    """Replay, EWC and L2-SP hold on to the old voices, and plain fine-tuning does not."""
    by_seed = {(row["variant"], row["seed"]): row for row in rows("adaptation")}
    names = list(dict.fromkeys(name for name, _ in by_seed))
    assert set(by_seed) == {(name, seed) for name in names for seed in ("0", "1")}
    numbers = [measure for measure in by_seed[names[0], "0"] if measure not in ("variant", "seed")]
    mean = {n: {m: sum(float(by_seed[n, s][m]) for s in ("0", "1")) / 2 for m in numbers} for n in names}
    for method in ("replay", "EWC", "L2-SP"):
        for measure in ("old mr_stft", "old lsd_db", "old log_mel_l1"):
            assert mean[f"too fast, {method}"][measure] < mean["too fast"][measure]
    for plain in ("fine-tuned", "too fast"):
        assert mean[plain]["old mr_stft"] > mean["not adapted"]["old mr_stft"]  # there is a loss to avoid
        assert mean[f"{plain}, replay"]["old lsd_db"] < mean["not adapted"]["old lsd_db"]


def test_losses_are_those_of_recipes_that_exist():
    listed = {row["recipe"] for row in rows("loss_curves")}
    assert {"quickstart", "speech"} <= listed <= {path.stem for path in (ROOT / "conf/experiment").glob("*.yaml")}
