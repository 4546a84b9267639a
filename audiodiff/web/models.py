"""The tab Models: what ships, a card each; its numbers are those of the evaluation beside the weights."""

import html
import json
import re
from pathlib import Path
from typing import Any

import gradio as gr

from audiodiff.models import registry
from audiodiff.models.summary import purpose, summarise

LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)[^)]+\)")
FACT = '<div><dt>{key}</dt><dd title="{value}">{value}</dd></div>'
CARD = """<article class="model-card">
<h3>{name}</h3>
<p>{purpose}</p>
<dl>{facts}</dl>
<ul class="three">{numbers}</ul>
<a href="gradio_api/file={place}" target="_blank" rel="noopener">the whole card</a>
</article>"""


def card(name: str) -> str:
    """Read the card of a shipped model; links to files beside it become plain words, for the page serves no files."""
    path = _place(name)
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {name}\n\nThis model has no card."
    return LINK.sub(r"\1", text)


def card_places() -> list[Path]:
    """List the cards' files, to which the tab links."""
    return [place for name in registry.shipped() if (place := _place(name)).is_file()]


def short_card(name: str) -> str:
    """Write a model's card as HTML: what it is for, six facts, three numbers, a link to the whole of it."""
    summary = summarise(name)
    facts = (FACT.format(key=key, value=html.escape(value)) for key, value in _facts(summary))
    numbers = (f"<li><b>{value}</b><span>{html.escape(key)}</span></li>" for key, value in _numbers(summary))
    return CARD.format(
        name=name,
        purpose=html.escape(purpose(summary["kind"], summary["sample_rate"], summary["mel"], summary["labels"])),
        facts="".join(facts),
        numbers="".join(numbers),
        place=_place(name),
    )


def _facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    info, sampling = summary["info"], summary["sampling"]
    calls, size = sampling["steps"], Path(summary["file"]).stat().st_size
    start = sampling["one_step_start"] if calls == 1 and sampling["one_step_start"] else sampling["start"]
    return [
        ("licence", str(info.get("licence", "unknown"))),
        ("trained on", str(info.get("data", "unknown"))),
        ("recordings", f"{info.get('clips', 0):,}, {info.get('hours', 0):g} h"),
        ("trained for", f"{info.get('training_hours', 0):g} h on one core"),
        ("size", f"{summary['parameters'] / 1e6:.1f} million parameters, {size / 1e6:.1f} MB"),
        ("sampling", f"{calls} network call{'s' * (calls != 1)} of {sampling['solver']} from {start['name']}"),
    ]


def _numbers(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Choose three numbers of the evaluation, of the model as it samples by default."""
    path = Path(summary["file"]).with_suffix(".eval.json")
    if not path.is_file():
        return [("not measured", "–")]
    measured = json.loads(path.read_text(encoding="utf-8"))
    rows = measured["rows"]
    by_name = {row["name"]: row for row in rows}
    if summary["kind"] == "Generator":
        row, others = by_name["the model"], by_name["held-out recordings"]
        return [
            (f"heard as what was asked for (recordings: {others['accuracy'][0]:.0%})", f"{row['accuracy'][0]:.0%}"),
            (f"Fréchet distance to the recordings (others: {others['fad'][0]:.1f})", f"{row['fad'][0]:.1f}"),
            ("copies of a recording", f"{row['copies'][0]:.0%}"),
        ]
    calls, ends = summary["sampling"]["steps"], ("alone", "bfloat16", "noise")
    row = next((r for r in rows if r["calls"] == calls and not r["name"].endswith(ends)), None)
    if row is None:
        return [("not measured as it samples by default", "–")]
    natural = by_name["the recordings"]["dnsmos_p808"][0]
    return [
        (f"naturalness of 1 to 5, DNSMOS P.808 (the recordings: {natural:.2f})", f"{row['dnsmos_p808'][0]:.2f}"),
        ("PESQ-wb of 1 to 4.64", f"{row['pesq_wb'][0]:.2f}"),
        (f"× real time; processor threads: {measured['threads']}", f"{row['x_real_time'][0]:.0f}"),
    ]


def _place(name: str) -> Path:
    return registry.locate(name).with_suffix(".md")


def lay_out() -> None:
    """Place a card for each shipped model."""
    cards = "".join(map(short_card, registry.shipped()))
    gr.HTML(f'<div class="model-cards">{cards}</div>')
