"""The notebooks: kept with their outputs, of declared dependencies, and they run from top to bottom."""

import ast
import json
import re
import sys
import tomllib

import pytest
from support.tree import ROOT

NOTEBOOKS = sorted((ROOT / "demos" / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind="code"):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def source(path):
    return "\n".join("".join(cell["source"]) for cell in cells(path))


def test_there_are_five():
    assert len(NOTEBOOKS) == 5


@each
def test_notebook_is_kept_with_its_outputs(path):
    """From top to bottom, without an error; `python demos/notebooks/run.py` writes them."""
    assert [cell["execution_count"] for cell in cells(path)] == list(range(1, len(cells(path)) + 1))
    outputs = [output for cell in cells(path) for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert path.stat().st_size < 1e6  # pictures, but no sounds
    assert len(cells(path, "markdown")) >= len(cells(path)) / 2


@each
def test_notebook_imports_what_is_declared(path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["notebooks"]
    declared = {re.match(r"[\w-]+", name)[0].replace("-", "_") for name in wanted} | {"audiodiff", "IPython"}
    for node in ast.walk(ast.parse(source(path))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert all(n.split(".")[0] in declared | sys.stdlib_module_names for n in names), names


@each
def test_notebook_names_no_place_of_one_machine_and_nothing_far(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|/home/|/work/|/tmp/|[A-Z]:\\\\", text)


@pytest.mark.slow
@each
def test_notebook_runs_from_top_to_bottom(path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    printed = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert any("image/png" in o.get("data", {}) for o in printed)
