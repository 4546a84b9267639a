"""Links by which Colab opens the notebooks."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

DEMOS = Path(__file__).parents[2] / "demos"
publish = runpy.run_path(str(DEMOS / "release" / "colab.py"))["publish"]


def test_each_notebook_links_to_itself_once(tmp_path):
    for path in (DEMOS / "notebooks").glob("*.ipynb"):
        shutil.copy(path, tmp_path)
    before = {path.name: json.loads(path.read_text())["cells"] for path in tmp_path.iterdir()}
    for repository in ("old/place", "some/where"):
        paths = publish(repository, tmp_path)
    assert {path.name for path in paths} == before.keys() != set()
    for path in paths:
        first, link, setup, *rest = json.loads(path.read_text())["cells"]
        assert [first, *rest] == before[path.name]
        assert f"github/some/where/blob/main/demos/notebooks/{path.name})" in "".join(link["source"])
        assert "github.com/some/where\n" in "".join(setup["source"])


def test_address_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="OWNER/NAME is wanted"):
        publish("https://github.com/a/b", tmp_path)
