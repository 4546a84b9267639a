"""The folder for a Space of the hub: what its header says is there, and runs."""

import runpy
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from audiodiff import cli

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "demos" / "space"


def header():
    return yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---")[1])


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_header_names_an_sdk_that_the_package_takes():
    told, needed = header(), map(Requirement, project()["optional-dependencies"]["demo"])
    gradio = next(requirement for requirement in needed if requirement.name == told["sdk"] == "gradio")
    assert gradio.specifier.contains(told["sdk_version"])
    assert told["license"] == project()["license"].lower()
    assert len(told["short_description"]) <= 60


def test_requirements_are_this_package():
    wanted = Requirement((SPACE / "requirements.txt").read_text().strip())
    assert (wanted.name, wanted.extras) == (project()["name"], {"demo"})


def test_app_serves_the_page_to_all(monkeypatch):
    asked = []
    monkeypatch.setattr(cli, "main", lambda words: asked.append(words) or 0)
    monkeypatch.setattr(sys, "argv", ["app.py"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SPACE / header()["app_file"]), run_name="__main__")
    assert end.value.code == 0
    assert asked == [["demo", "--host", "0.0.0.0"]]
