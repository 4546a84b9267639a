"""Systems take turns, medians come with quartiles, nothing beaten is on the front, files hold what is printed."""

import argparse
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from support.tree import load_script

from audiodiff import audio
from audiodiff.cli import bench, main
from audiodiff.evaluation import benchmark, benchmark_table, hardware, peers
from audiodiff.mel import MelSpec

SPEC = MelSpec(16000)


@pytest.fixture
def folder(tmp_path, waveform):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a", "b"):
        audio.write(folder / f"{name}.wav", waveform, 16000)
    return folder


@pytest.fixture
def cold(monkeypatch):
    """No process is started: how long one takes is measured elsewhere."""
    monkeypatch.setattr(hardware, "first_sound", lambda *_: [1.0, 2.0, 4.0])
    monkeypatch.setattr(hardware, "peak_gflops", lambda precision: 100.0)


def test_systems_take_turns_and_another_begins_each_repetition(waveform):
    order, now = [], [0.0]
    cost = {"a": 1.0, "b": 2.0, "c": 4.0}

    def system(name):
        def vocode(mel):
            order.append(name)
            now[0] += cost[name]
            return torch.zeros(mel.shape[-1] * 256)

        return benchmark.System(name, SPEC, vocode, trained=False)

    clips = [benchmark.Clip(waveform, 16000)] * 2
    rows = benchmark.measure([system(n) for n in cost], clips, 2, clock=lambda: now[0])
    assert "".join(order) == "aabbcc" + "aabbcc" + "bbccaa"  # the warm-up first
    seconds = 2 * (waveform.shape[-1] // 256 * 256) / 16000
    assert [row["x_real_time"][0] for row in rows] == [
        pytest.approx(seconds / (2 * c), abs=1e-4) for c in cost.values()
    ]
    assert rows[0]["samples_per_second"][0] == round(seconds / 2 * 16000)


def test_a_slow_system_gets_a_part_of_the_first_clip_and_random_weights_are_not_judged(waveform):
    lengths = []

    def vocode(mel):
        lengths.append(mel.shape[-1])
        return torch.zeros(mel.shape[-1] * 256)

    slow = benchmark.System("slow", SPEC, vocode, trained=False, seconds=0.5)
    (row,) = benchmark.measure([slow], [benchmark.Clip(waveform, 16000)] * 3, 1)
    assert lengths == [31, 31]
    assert row["quality"] == {}
    assert row["on_seconds"] == 0.5


def test_spread_is_median_and_quartiles():
    assert hardware.spread([5.0]) == (5.0, 5.0, 5.0)
    assert hardware.spread([9.0, 1.0, 3.0, 7.0, 5.0]) == (5.0, 3.0, 7.0)


def test_front_holds_what_nothing_beats_and_ties():
    points = [(1.0, 4.0), (1.0, 4.0), (2.0, 3.0), (2.0, 2.9), (0.9, 4.0), None, (8.0, 1.0)]
    assert benchmark_table.front(points) == [True, True, True, False, False, False, True]


def test_operations_of_a_network_are_those_of_its_products():
    network = torch.nn.Linear(30, 50)
    work = hardware.work_of(network, lambda: [network(torch.ones(7, 30)) for _ in range(2)], repeats=1)
    assert work.operations == 2 * (2 * 7 * 30 * 50)
    assert work.seconds > 0
    assert hardware.work_of(network, lambda: None) is None


def test_command_writes_table_page_and_picture_of_a_model_and_floors(folder, tiny_model_path, tmp_path, cold, capsys):
    out = tmp_path / "out"
    line = ["bench", str(folder), "--models", str(tiny_model_path), "--calls", "1", "--seconds", "1", "--repeats", "2"]
    line += ["--out", str(out), "--precisions", "float32,bfloat16"]
    assert main(line) == 0
    shown = capsys.readouterr().out
    table = json.loads((out / "bench.json").read_text())
    assert benchmark_table.markdown(table) == shown.strip() == (out / "bench.md").read_text().strip()
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert [row["calls"] for row in table["rows"]] == [1, 1, 0, 0, 0]
    assert [row["precision"] for row in table["rows"][:2]] == ["float32", "bfloat16"] == [*table["peak_gflops"]]
    assert table["rows"][0]["work"]["gflops"] > 0
    assert table["clips"] == 2
    assert table["seconds"] == 2.0
    assert table["machine"]["threads"] == 1
    assert table["first_sound"]["seconds"] == [2.0, 1.5, 3.0]
    there = [name for name in benchmark_table.JUDGES if name not in benchmark.missing_measures()]
    assert table["judged_by"] == (there or ["log_mel_l1"])
    for judge in table["judged_by"]:
        assert any(judge in row["front"] for row in table["rows"])
    assert main(line) == 2
    assert "-f" in capsys.readouterr().err


def test_no_more_of_a_clip_is_read_than_is_taken(tmp_path):
    sound = 0.3 * np.sin(np.arange(64000) / 5)
    sound[32000:] = np.nan  # which is refused where it is read
    soundfile.write(tmp_path / "long.wav", sound, 16000, subtype="FLOAT")
    clips, _ = bench._clips(argparse.Namespace(data=str(tmp_path / "long.wav"), seconds=1.5))
    assert [clip.waveform.shape[-1] for clip in clips] == [24000]


def test_command_without_the_extra_measures_what_it_can_and_says_so(folder, tiny_model_path, cold, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("pesq", "pystoi", "speechmos") else find(name)
    )
    line = ["bench", str(folder / "a.wav"), "--models", str(tiny_model_path), "--calls", "1", "--repeats", "1"]
    assert main(line) == 0
    shown = capsys.readouterr().out
    assert "not measured: pesq_wb, stoi, dnsmos_p808: pip install 'audiodiff-torch[eval]'" in shown
    assert "| log_mel_l1 | mr_stft |" in shown
    assert re.search(r"\| log_mel_l1 \|$", shown, re.MULTILINE)  # what is left to judge by


def test_share_of_the_peak_is_told_of_every_shipped_model(tiny_model_path, monkeypatch, capsys):
    peak = load_script("demos/benchmarks/peak.py")
    monkeypatch.setattr(peak.registry, "shipped", lambda: [str(tiny_model_path), "drums"])
    monkeypatch.setattr(peak.hardware, "peak_gflops", lambda precision: 100.0)
    monkeypatch.setattr(sys, "argv", ["peak", "--seconds", "0.5", "--batch", "1", "--repeats", "1"])
    peak.main()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if " float32 " in line]
    assert [row[0] for row in rows] == [str(tiny_model_path), "drums", "a product"]
    for _, _, _, gflop, ms, rate, share in rows[:2]:
        assert float(gflop) / float(ms) * 1000 == pytest.approx(float(rate), abs=0.6, rel=0.02)
        assert float(share.rstrip("%")) == pytest.approx(float(rate), abs=1)


def test_first_sound_counts_the_start_of_the_process(tiny_model_path, waveform):
    (taken,) = hardware.first_sound(str(tiny_model_path), waveform[:, :16000], 16000, 1, 1)
    assert taken > 0.2
    with pytest.raises(ValueError, match="nowhere"):
        hardware.first_sound("nowhere", waveform[:, :16000], 16000, 1, 1)


def test_peer_that_is_missing_is_named_with_what_installs_it():
    adapter = SimpleNamespace(REQUIRES="nowhere==1", MODULES=("nowhere_to_be_found",))
    assert peers.build(adapter) == ([], "not installed: pip install nowhere==1")


def test_peer_that_does_not_start_says_why():
    def systems():
        raise OSError("no such library")

    adapter = SimpleNamespace(REQUIRES="x", MODULES=("sys",), systems=systems)
    assert peers.build(adapter) == ([], "does not start: no such library")


def test_every_peer_is_built_or_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    systems, absent = peers.available()
    assert not systems
    files = {path.stem.replace("_", "-") for path in Path(peers.__file__).parent.glob("[a-z]*.py")}
    assert {one["name"] for one in absent} == files >= {"vocos", "hifi-gan"}
    assert all(one["why"].startswith("not installed: pip install ") for one in absent)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--repeats", "0"],
        ["--clips", "0"],
        ["--threads", "0"],
        ["--seconds", "nan"],
        ["--calls", "x"],
        ["--models", "nowhere"],
        ["nowhere.jsonl"],
    ],
    ids=lambda wrong: wrong[0],
)
def test_bad_arguments_are_told_in_one_line(wrong, capsys):
    assert main(["bench", *wrong]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
