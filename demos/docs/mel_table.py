"""Write the table of acoustic models and their mels into the guide, out of conf/mel/systems.csv.

python demos/docs/mel_table.py
"""

import csv

from audiodiff.griffin_lim.mel_conversion import Conversion
from audiodiff.mel import MelSpec
from audiodiff.models import registry
from audiodiff.utils.config import conf_dir, shipped_path

PAGE = "demos/docs/pages/guides/mels.md"
BEGIN, END = "<!-- systems: python demos/docs/mel_table.py -->\n", "<!-- end of systems -->\n"


def table() -> str:
    """Build the Markdown table: a row a preset, in the order of the CSV."""
    with open(conf_dir() / "mel" / "systems.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [
        "| acoustic model | `--mel-preset` | rate, hop, bands | shipped model that speaks it |",
        "|---|---|---|---|",
    ]
    for preset in dict.fromkeys(row["preset"] for row in rows):
        spec = MelSpec.preset(preset)
        systems = "; ".join(row["system"] for row in rows if row["preset"] == preset)
        size = f"{spec.sample_rate / 1000:g} kHz, {spec.hop_length}, {spec.n_mels}"
        lines.append(f"| {systems} | `{preset}` | {size} | {speaker(spec)} |")
    return "\n".join(lines) + "\n"


def speaker(spec: MelSpec) -> str:
    """Name the shipped models that take a mel as it is, or by a function of each value; else how one takes it."""
    exact, able = [], False
    for name, own in registry.shipped_mels().items():
        try:
            conversion = Conversion(spec, own)
        except ValueError:
            continue
        able = True
        if conversion.exact:
            exact.append(f"`{name}`")
    return ", ".join(exact) or ("by way of a waveform" if able else "none yet: train one")


def with_table(page: str) -> str:
    """Put the table between the marks of a page."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


def main() -> None:
    """Rewrite the page."""
    path = shipped_path(PAGE)
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
