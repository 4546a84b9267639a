"""Give each notebook a link by which Colab opens it, and a cell that fetches the repository there.

    python demos/release/colab.py OWNER/NAME

OWNER/NAME is the repository's address on GitHub, known when it is published. Cells of an earlier address are replaced.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "notebooks"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
IDS = ("colab-link", "colab-setup")


def cells(repository: str, notebook: str) -> list[dict[str, Any]]:
    """Return the two cells: a link, and what it takes to run the others in Colab."""
    link = f"https://colab.research.google.com/github/{repository}/blob/main/demos/notebooks/{notebook}"
    folder = repository.split("/")[1]
    code = [
        "import sys\n",
        "\n",
        'if "google.colab" in sys.modules:\n',
        f"    !git clone -q --depth 1 https://github.com/{repository}\n",
        f"    !pip install -q './{folder}[export,tune]'\n",
        f"    %cd {folder}",
    ]
    text = {"cell_type": "markdown", "id": IDS[0], "metadata": {}, "source": [f"[![Open in Colab]({BADGE})]({link})"]}
    setup = {"cell_type": "code", "id": IDS[1], "metadata": {}, "execution_count": None, "outputs": [], "source": code}
    return [text, setup]


def publish(repository: str, folder: Path = FOLDER) -> list[Path]:
    """Write the cells into all notebooks of a folder, and return their paths.

    Raises:
        ValueError: The repository is not OWNER/NAME.
    """
    if not re.fullmatch(r"[\w-]+/[\w.-]+", repository):
        raise ValueError(f"{repository}: is no repository; OWNER/NAME is wanted")
    paths = sorted(folder.glob("*.ipynb"))
    for path in paths:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        kept = [cell for cell in notebook["cells"] if cell.get("id") not in IDS]
        notebook["cells"] = [kept[0], *cells(repository, path.name), *kept[1:]]  # below the title
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", metavar="OWNER/NAME")
    for written in publish(parser.parse_args().repository):
        print(written)
