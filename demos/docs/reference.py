"""Write one page of reference for each room of the package when mkdocs builds the site, and list the results.

A page has the room's docstring and every public module, so that what is added to the package needs no line here. The
rooms come in the order in which they build on each other.
"""

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).resolve().parents[2] / "audiodiff"
RESULTS = Path(__file__).resolve().parent / "pages" / "results"
LEFT_OUT = ("cli", "web", "weights")  # the commands have a page of their own


def rooms() -> list[Path]:
    """List the rooms, in the order in which they import from each other."""
    found = {path.parent for path in PACKAGE.glob("*/__init__.py") if path.parent.name not in LEFT_OUT}
    order = "utils audio mel diffusion nn losses data griffin_lim models evaluation pipelines training tuning export"
    places = {name: place for place, name in enumerate(order.split())}
    return sorted(found, key=lambda path: (places.get(path.name, len(places)), path.name))


def page(room: Path) -> str:
    """Write the page of a room."""
    says = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    modules = [path for path in sorted(room.rglob("*.py")) if not path.name.startswith("_")]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in modules]
    return f"# {room.name}\n\n{says}\n\n" + "\n\n".join(f"::: {name}" for name in names) + "\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the rooms into the navigation before the page of the commands, and the results behind their index."""
    for entry in config.nav or []:
        if isinstance(entry, dict) and "Reference" in entry:
            entry["Reference"] = [*(f"reference/{room.name}.md" for room in rooms()), *entry["Reference"]]
        elif isinstance(entry, dict) and "Results" in entry:
            index, *others = entry["Results"]
            pages = sorted(path.name for path in RESULTS.glob("*.md") if path.name != "index.md")
            entry["Results"] = [index, *(f"results/{name}" for name in pages), *others]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site."""
    for room in rooms():
        files.append(File.generated(config, f"reference/{room.name}.md", content=page(room)))
    return files
