"""Write the pages of results from the experiments and the evaluations of the shipped weights.

    python demos/docs/results.py

Each folder of `demos/experiments` becomes a page: its README.md, with a table in the place of each marker:

    <!-- results.csv -->               all columns of the CSV
    <!-- results.csv | a | b -->       these columns
    <!-- run.py -->                    what `tables(results.csv)` of the script returns

Each `audiodiff/weights/NAME.eval.json` becomes a page too, `demos/benchmarks/bench.json` the table on speed, and
`demos/release/readme.csv` says which rows of the evaluations the README shows. Nothing is measured here;
`tests/repository/test_results.py` fails where a page differs from its source.
"""

import csv
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "demos/experiments"
PAGES = ROOT / "demos/docs/pages/results"
WEIGHTS = ROOT / "audiodiff/weights"
BENCHMARK, SPEED = ROOT / "demos/benchmarks/bench.json", ROOT / "demos/docs/pages/guides/bench.md"
HEADERS = {
    "pesq_wb": "PESQ-wb",
    "stoi": "STOI",
    "log_mel_l1": "log-mel L1",
    "lsd_db": "LSD, dB",
    "mcd_db": "MCD, dB",
    "sdr_db": "SDR, dB",
    "mr_stft": "multi-resolution STFT",
    "mr_stft_wide": "the same, wide",
    "dnsmos_p808": "DNSMOS p808",
    "distill_mos": "DistillMOS",
    "look_ahead_s": "look-ahead, s",
    "lr": "learning rate",
}
FRONT = "<!-- measured -->", "<!-- end of measured -->"
BENCH = "<!-- bench -->", "<!-- end of bench -->"
HEADLINE = "<!-- in short -->", "<!-- end of in short -->"
NOTICE = "<!-- Written by demos/docs/results.py from {source}: edit that, and run it again. -->\n\n"
INDEX = """# Results

Every number is printed by the command on its page, losers included. The tables are written from the CSV and JSON files
that the commands left; a test compares them.

| shipped weights | evaluated on |
|---|---|
{weights}

| experiment | |
|---|---|
{experiments}

Speed beside other vocoders, and how near the machine's peak it is: [benchmarks](../guides/bench.md).
"""


def table(rows: list[list[str]]) -> str:
    """Lay out rows as a Markdown table; the first holds the names of the columns."""
    head, *body = rows
    lines = [[header(name) for name in head], ["---"] * len(head), *body]
    return (
        "\n".join("| " + " | ".join(cells) + " |" for cells in lines).replace("| --- ", "|---").replace("--- |", "---|")
    )


def header(name: str) -> str:
    """Translate the name of a CSV column, word by word, to what a reader knows."""
    words = [HEADERS.get(word.rstrip(","), word.rstrip(",")) + "," * word.endswith(",") for word in name.split(" ")]
    return re.sub(r"^x real time|^x_real_time", "× real time", " ".join(words)).replace("_", " ")


def of_csv(path: Path, columns: list[str]) -> str:
    """Lay out a CSV file, or some of its columns."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *body = csv.reader(file)
    chosen = [head.index(name) for name in columns or head]
    return table([[row[i] for i in chosen] for row in (head, *body)])


def of_script(path: Path) -> str:
    """Ask a script for its tables."""
    spec = importlib.util.spec_from_file_location(f"experiment_{path.parent.name}", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.tables(path.with_name("results.csv"))


def page(folder: Path) -> str:
    """Fill in the tables of an experiment's README.md, and point its links at the pages of the documentation."""

    def filled(marker: re.Match[str]) -> str:
        name, *columns = (part.strip() for part in marker[1].split("|"))
        return of_script(folder / name) if name.endswith(".py") else of_csv(folder / name, columns)

    text = re.sub(r"<!-- ([\w.]+\.(?:csv|py)[^>]*) -->", filled, (folder / "README.md").read_text(encoding="utf-8"))
    return NOTICE.format(source=f"{folder.relative_to(ROOT)}") + text.replace("../../docs/pages/", "../")


def generator_table(rows: list[dict[str, Any]]) -> str:
    """Lay out the rows of a generator's evaluation: whatever was measured when it was written."""
    measures = [key for key in rows[0] if key != "name"]
    body = [
        [row["name"], *(f"{row[m][0]:.3g}" + f" ± {row[m][1]:.2g}" * bool(row[m][1]) for m in measures)] for row in rows
    ]
    return table([["sounds", *measures], *body])


def evaluated(path: Path) -> tuple[str, str, str]:
    """Return name, page and one line of what an evaluation was made of."""
    from audiodiff.evaluation import vocoder_table as evaluation

    found, name = json.loads(path.read_text(encoding="utf-8")), path.name.removesuffix(".eval.json")
    vocoder = "clips" in found
    shown = evaluation.markdown(found) if vocoder else generator_table(found["rows"])
    on = f"{found['clips']} recordings (list {found['clips_sha256']})" if vocoder else "held-out recordings"
    notes = f"On {on}; mean ± half the 95 % bootstrap interval. `audiodiff info {name}` shows the model's card."
    source = NOTICE.format(source=path.relative_to(ROOT))
    return name, f"{source}# {name}\n\n{notes}\n\n{shown}\n", on


def front(rows: list[dict[str, str]]) -> str:
    """Lay out the README's table: the rows of the evaluations that `readme.csv` names."""
    lines = [["", "network calls", "DNSMOS p808", "PESQ-wb", "× real time", "size"]]
    for row in rows:
        found = measured(row)
        cells = [f"{found[key][0]:.2f}" for key in ("dnsmos_p808", "pesq_wb")]
        speed = f"{found['x_real_time'][0]:.0f} ×" if found["x_real_time"] else "–"
        calls = int(row["calls"])
        lines.append([row["system"], str(calls or "–"), *cells, speed, f"{megabytes(row):.1f} MB" if calls else "–"])
    return table(lines)


def measured(row: dict[str, str]) -> dict[str, Any]:
    """Return the one row of an evaluation that a row of `readme.csv` names."""
    evaluation = json.loads((WEIGHTS / f"{row['model']}.eval.json").read_text(encoding="utf-8"))
    wanted = (row["row"], int(row["calls"]))
    found = [r for r in evaluation["rows"] if (r["name"], r["calls"]) == wanted]
    if len(found) != 1:
        raise SystemExit(f"{row['model']}.eval.json has {len(found)} rows of {wanted}")
    return found[0]


def megabytes(row: dict[str, str]) -> float:
    """Return the size of a model's weights."""
    return (WEIGHTS / f"{row['model']}.safetensors").stat().st_size / 1e6


def in_short(rows: list[dict[str, str]]) -> str:
    """Say in one line what the model that the README names by itself costs."""
    row = next(row for row in rows if row["system"] == f"`{row['model']}`")
    speed = f"{measured(row)['x_real_time'][0]:.0f} × real time on two CPU threads"
    return f"**{row['system']}: {megabytes(row):.1f} MB in the package, {speed}.**"


def readme(text: str) -> str:
    """Replace what stands between the marks of the README: a line at the top, and the table."""
    with (ROOT / "demos/release/readme.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return between(FRONT, front(rows), between(HEADLINE, in_short(rows), text))


def between(marks: tuple[str, str], shown: str, text: str) -> str:
    """Replace what stands between two marks of a page."""
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not end:
        raise SystemExit(f"the marks {marks[0]} and {marks[1]} are missing")
    return f"{before}{begin}\n{shown}\n{end}{after}"


def benchmark(text: str) -> str:
    """Replace the table and the notes of the page on speed by what `audiodiff bench` left."""
    from audiodiff.evaluation.benchmark_table import markdown

    return between(BENCH, "\n" + markdown(json.loads(BENCHMARK.read_text(encoding="utf-8"))) + "\n", text)


def written() -> dict[Path, str]:
    """Return the text of every file that is written here."""
    evaluations = [evaluated(path) for path in sorted(WEIGHTS.glob("*.eval.json"))]
    folders = sorted(path.parent for path in EXPERIMENTS.glob("*/README.md"))
    titles = {f.name: (f / "README.md").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for f in folders}
    index = INDEX.format(
        weights="\n".join(f"| [{name}]({name}.md) | {on} |" for name, _, on in evaluations),
        experiments="\n".join(f"| [{name}]({name}.md) | {title} |" for name, title in titles.items()),
    )
    pages = {PAGES / "index.md": index}
    pages |= {PAGES / f"{name}.md": text for name, text, _ in evaluations}
    pages |= {PAGES / f"{folder.name}.md": page(folder) for folder in folders}
    others = {ROOT / "README.md": readme, SPEED: benchmark}
    return pages | {path: change(path.read_text(encoding="utf-8")) for path, change in others.items()}


def main() -> int:
    """Write what differs, and remove pages that nothing writes any longer."""
    PAGES.mkdir(exist_ok=True)
    pages = written()
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))
    for path in set(PAGES.glob("*.md")) - pages.keys():
        path.unlink()
        print(f"{path.relative_to(ROOT)} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
