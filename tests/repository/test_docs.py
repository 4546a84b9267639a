"""The pages in demos/docs say what is true: their code runs, their commands exist, their links lead somewhere."""

import re
import shlex
import sys
import types
import unicodedata

import pytest
import yaml
from support.processes import python
from support.tree import ROOT, load_script

from audiodiff.cli import COMMANDS, checks
from audiodiff.models import Vocoder
from audiodiff.training.hydra_config import composed

PAGES = sorted((ROOT / "demos" / "docs" / "pages").rglob("*.md"))
PROSE = [
    *PAGES,
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(ROOT.glob("datasets/*/README.md")),
    *sorted(ROOT.glob("audiodiff/weights/*.md")),
]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def named(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=named)
def test_python_of_a_page_runs_from_top_to_bottom_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    code = "\n".join(blocks(page, "python")).replace('"out.wav"', repr(str(tmp_path / "out.wav")))
    told = [line.partition("  # ")[2].strip() for line in code.splitlines() if line.lstrip().startswith("print(")]
    exec(compile(code, str(page), "exec", dont_inherit=True), {"__name__": "page"})
    printed = capsys.readouterr().out.splitlines()
    if all(told):
        assert printed == told
    else:
        assert printed


def test_journey_names_the_hops_of_generate_in_order(waveform):
    """The first call of each, in one run of the model that the page loads."""
    page = (ROOT / "demos/docs/pages/journey.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([\w.]+)` \| ", page, re.MULTILINE)
    vocoder, seen = Vocoder.load("speech-24k"), {}
    mel = vocoder.spectrogram(waveform[None])

    def note(frame, event, _):
        if event == "call":
            seen.setdefault(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}".removeprefix("audiodiff."))

    sys.setprofile(note)
    try:
        vocoder.generate(mel, steps=1)
    finally:
        sys.setprofile(None)
    assert len(named) > 20
    assert [name for name in seen if name in named] == named


def commands(page):
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.partition("  #")[0].split("&&"):
                words = shlex.split(part, comments=True)
                words[:1] = [words[0].rpartition("/")[2]] if words else []
                if words:
                    yield words


@pytest.mark.parametrize("page", PROSE, ids=named)
def test_commands_of_a_page_are_ones_that_there_are(page, monkeypatch):
    """Options and names are checked as the command line checks them; files are the reader's own."""
    import argparse
    import importlib

    for kind in ("array", "audio_file", "generator", "mel_spec", "model", "recordings", "vocoder"):
        monkeypatch.setattr(checks, kind, str)
    for words in commands(page):
        if words[0] == "audiodiff" and words[1] in COMMANDS:
            command = importlib.import_module(f"audiodiff.cli.{words[1].replace('-', '_')}")
            parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
            parser.error = pytest.fail
            command.add_options(parser)
            parser.parse_intermixed_args(words[2:])
        elif words[0] == "audiodiff":
            assert words[1].startswith("-"), words
        elif words[:3] == ["python", "-m", "audiodiff.train"] and "--config-dir" not in words:
            given = [word for word in words[3:] if not word.startswith("-")]
            if len(given) < len(words[3:]):  # a grid: of each choice, the first
                given = [re.sub(r"=([^,\[{]+),.*", r"=\1", word) for word in given]
            composed(given)
        elif words[0].startswith("python") and words[1:2] and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), words


def anchors(page):
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    plain = [unicodedata.normalize("NFKC", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles]
    return {re.sub(r"\s", "-", title) for title in plain}


@pytest.mark.parametrize("page", PROSE, ids=named)
def test_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|mailto:|hf:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        aimed = page.parent / path if path else page
        written = aimed.parent.name == "reference" and (ROOT / "audiodiff" / aimed.stem).is_dir()  # docs/reference.py
        assert aimed.exists() or written, target
        assert not anchor or anchor in anchors(aimed), target


def test_files_that_pages_and_sources_name_exist():
    """By their path from the root; capitals stand for a name of the reader's."""
    rooms = ("audiodiff", "demos", "tests", "conf")
    sources = [path for room in rooms for kind in ("py", "yaml", "md") for path in (ROOT / room).rglob(f"*.{kind}")]
    own = re.compile(r"\b(?:audiodiff|demos|tests|datasets)/[\w./-]+\.(?:py|md|csv|flac|wav|png|json)\b")
    lost = {
        (name, named(page))
        for page in {*PROSE, *sources}
        for name in own.findall(page.read_text(encoding="utf-8"))
        if not (ROOT / name).exists() and not re.search(r"[A-Z]{4}", name.partition("README")[0])
    }
    assert not lost, sorted(lost)


def test_every_public_module_is_in_the_reference():
    pytest.importorskip("mkdocs")
    reference = load_script("demos/docs/reference.py")
    pages = {
        name for room in reference.rooms() for name in re.findall(r"^::: audiodiff\.(\S+)$", reference.page(room), re.M)
    }
    package = ROOT / "audiodiff"
    modules = {".".join(file.relative_to(package).with_suffix("").parts) for file in package.rglob("*/*.py")}
    left_out = tuple(f"{room}." for room in reference.LEFT_OUT)
    assert pages == {n for n in modules if not n.rpartition(".")[2].startswith("_") and not n.startswith(left_out)}


def test_every_command_has_a_line_in_the_reference():
    told = re.findall(
        r"^\| `audiodiff ([\w-]+)", (ROOT / "demos" / "docs" / "pages" / "reference" / "commands.md").read_text(), re.M
    )
    assert sorted(told) == sorted(COMMANDS)


def test_every_page_is_in_the_navigation():
    pytest.importorskip("mkdocs")
    nav = yaml.safe_load((ROOT / "demos/docs/mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    load_script("demos/docs/reference.py").on_config(types.SimpleNamespace(nav=nav))

    def leaves(node):
        return [node] if isinstance(node, str) else [leaf for child in values(node) for leaf in leaves(child)]

    def values(node):
        return node.values() if isinstance(node, dict) else node

    folder = ROOT / "demos" / "docs" / "pages"
    listed = [page for page in leaves(nav) if not page.startswith("reference/") or page == "reference/commands.md"]
    assert sorted(listed) == sorted(str(p.relative_to(folder)) for p in PAGES)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    done = python("-m", "mkdocs", "build", "--strict", "-q", "-d", tmp_path, "-f", "demos/docs/mkdocs.yml", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "reference" / "models.html").read_text(encoding="utf-8")
    assert "audiodiff.models.vocoder.Vocoder.generate" in page
    assert not re.search(r'(?:src|<link[^>]*href)="https?://', page)
