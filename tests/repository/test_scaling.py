"""The guide to scaling tells what demos/scaling.csv holds."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tables_of_the_guide_are_those_of_the_measured_csv(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "demos"))
    monkeypatch.delitem(sys.modules, "scaling", raising=False)
    from scaling import tables

    guide = (ROOT / "demos/docs/pages/guides/scaling.md").read_text(encoding="utf-8")
    for table in tables(ROOT / "demos/scaling.csv").split("\n\n"):
        assert table in guide
