"""What `audiodiff doctor` says of an installation."""

import json

import pytest
import soundfile
import torch

from audiodiff.cli import main
from audiodiff.evaluation import installation
from audiodiff.evaluation.installation import Finding, examine_installation, verdict
from audiodiff.griffin_lim.kernels import dispatch
from audiodiff.models import registry


def named(findings):
    return {finding.what: finding for finding in findings}


def test_doctor_without_a_model_looks_at_the_installation(capsys):
    status = main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    found = {finding["what"]: finding for finding in told["findings"]}
    assert {
        "processor",
        "threads",
        "compiled loops",
        "card",
        "audio formats",
        "models",
        "cache of loops",
    } <= found.keys()
    assert {"extra eval", "extra demo", "extra export"} <= found.keys()
    assert status == any(finding["is_good"] is False for finding in told["findings"])
    assert told["verdict"].startswith("TROUBLE" if status else "Good")
    assert torch.backends.cpu.get_cpu_capability() in found["processor"]["text"]


@pytest.mark.parametrize(
    ("change", "what", "words"),
    [
        (lambda m: m.setattr(dispatch, "_kernels", lambda: None), "compiled loops", "pip install numba"),
        (
            lambda m: m.setattr(soundfile, "available_formats", lambda: {"WAV": ""}),
            "audio formats",
            "MP3 cannot be read",
        ),
        (lambda m: m.setattr(registry, "shipped", list), "models", "reinstall"),
        (lambda m: m.setattr(torch, "get_num_threads", lambda: 1000), "threads", "OMP_NUM_THREADS="),
        (lambda m: m.setattr(installation.os, "access", lambda *_: False), "cache of loops", "NUMBA_CACHE_DIR"),
    ],
)
def test_trouble_is_named_with_its_remedy(monkeypatch, change, what, words):
    change(monkeypatch)
    findings = examine_installation()
    assert named(findings)[what].is_good is False
    assert words in named(findings)[what].text
    assert what in verdict(findings)


def test_extra_that_is_missing_is_told_with_the_command_and_is_no_trouble(monkeypatch):
    monkeypatch.setattr(installation, "_is_installed", lambda package: package != "gradio")
    found = named(examine_installation())["extra demo"]
    assert found.is_good is None
    assert "not installed (gradio" in found.text
    assert "audiodiff-torch[demo]" in found.text
    assert verdict([Finding("models", True, "one"), found]).endswith("not installed: extra demo.")
