"""The guide to scaling tells what demos/experiments/scaling/results.csv holds."""

from support.tree import ROOT, load_script


def test_tables_of_the_guide_are_those_of_the_measured_csv():
    tables = load_script("demos/experiments/scaling/run.py").tables
    guide = (ROOT / "demos/docs/pages/guides/scaling.md").read_text(encoding="utf-8")
    for table in tables(ROOT / "demos/experiments/scaling/results.csv").split("\n\n"):
        assert table in guide
