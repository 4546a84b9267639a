"""The tab Models: the cards of what ships."""

import re

import gradio as gr

from audiodiff.models import registry

__all__ = ["card", "lay_out"]

LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)[^)]+\)")


def card(name: str) -> str:
    """Reads the card of a shipped model; links to files beside it become plain words, for the page serves no files."""
    path = registry.locate(name).with_suffix(".md")
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {name}\n\nThis model has no card."
    return LINK.sub(r"\1", text)


def lay_out() -> None:
    """Places a card for each shipped model."""
    for i, name in enumerate(registry.shipped()):
        with gr.Accordion(name, open=i == 0):
            gr.Markdown(card(name))
