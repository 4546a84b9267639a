"""Run notebooks from top to bottom and keep their outputs: text and pictures, without the sounds, which are large.

python demos/notebooks/run.py                 # all
python demos/notebooks/run.py quickstart
"""

import argparse
import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


def kept(output: dict[str, Any]) -> dict[str, Any]:
    """Drop the player of a sound and progress bars; what was printed and drawn stays."""
    data = output.get("data", {})
    if "<audio" in "".join(data.get("text/html", "")):
        data = {"text/plain": "a sound: run the notebook to hear it"}
    if "image/png" in data:
        data = data | {"image/png": smaller(data["image/png"])}
    return output | ({"data": data} if data else {})


def smaller(picture: str) -> str:
    """Reduce a PNG, base64, to 64 colours."""
    from PIL import Image

    file = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    image.quantize(64, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def cleaned(notebook: dict[str, Any]) -> dict[str, Any]:
    """Keep what a reader wants of the outputs."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [kept(o) for o in cell["outputs"] if o.get("name") != "stderr"]
        cell["metadata"] = {}
    return notebook


def main() -> int:
    """Run and write."""
    import nbclient
    import nbformat

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of notebooks (default: all)")
    for name in parser.parse_args().names or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        path = FOLDER / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        nbclient.NotebookClient(
            notebook, timeout=1800, resources={"metadata": {"path": str(FOLDER.parents[1])}}
        ).execute()
        text = json.dumps(cleaned(json.loads(nbformat.writes(notebook))), indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        print(path, f"{path.stat().st_size // 1000} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
