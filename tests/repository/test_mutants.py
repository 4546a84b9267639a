"""The list of mutants stands on lines that exist, and its table in CONTRIBUTING.md lists the same."""

import pytest
from support.tree import ROOT, load_script

MUTANTS = load_script("tests/mutants.py").MUTANTS


@pytest.mark.parametrize(("file", "old"), [mutant[:2] for mutant in MUTANTS])
def test_mutant_finds_its_line_exactly_once(file, old):
    assert (ROOT / "audiodiff" / file).read_text(encoding="utf-8").count(old) == 1


def test_table_of_mutants_lists_each_of_them():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [f"| `{file}` | `{old}` → `{new}` |" in text for file, old, new, _ in MUTANTS] == [True] * len(MUTANTS)
    assert text.count(" → ") >= len(MUTANTS)
