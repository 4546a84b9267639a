"""What was known is held, comes back or is reported lost; folders that fill are read without doubt of what was seen."""

import json
import os
import time

import pytest
import soundfile
import torch
from support.continual import manifest
from support.training import equal, run, states, steps
from torch import nn

from audiodiff.data import Crops, scan_folder
from audiodiff.data.replay import Replay, WatchedFolder
from audiodiff.training.continual import Anchor, fisher_of, forgetting_report
from audiodiff.utils.config import shipped_path


def linear(*weights):
    module = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([weights]))
    return module


def test_anchor_is_the_weighted_square_of_the_way_gone():
    module = linear(1.0, 2.0)
    plain = Anchor(module, 0.5)
    held = Anchor(module, 0.5, {"weight": torch.tensor([[3.0, 0.0]])})
    assert float(plain(module).detach()) == 0
    with torch.no_grad():
        module.weight.add_(torch.tensor([[2.0, 1.0]]))
    assert float(plain(module).detach()) == pytest.approx(0.5 * (4 + 1))
    assert float(held(module).detach()) == pytest.approx(0.5 * 3 * 4)


def test_anchor_survives_its_file(tmp_path):
    module = linear(1.0, 2.0)
    Anchor(module, 1.0, {"weight": torch.tensor([[3.0, 1.0]])}).save(tmp_path / "anchor.safetensors")
    other = Anchor(linear(7.0, 7.0), 1.0)
    other.load(tmp_path / "anchor.safetensors")
    assert torch.equal(other.origin["weight"], module.weight.detach())
    assert torch.equal(other.fisher["weight"], torch.tensor([[3.0, 1.0]]))


def test_fisher_is_the_mean_square_of_gradients_scaled_to_one():
    module, inputs = linear(0.0, 0.0), torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    fisher = fisher_of(module, [lambda x=x: module(x).sum() for x in inputs])
    assert torch.allclose(fisher["weight"], torch.tensor([[10.0, 4.0]]) / 7)
    with pytest.raises(ValueError, match="no gradient"):
        fisher_of(module, [])


@pytest.mark.parametrize("given", ["continual=l2-sp", "continual=ewc"])
def test_heavy_anchor_holds_the_weights_and_resumes_bit_for_bit(tmp_path, given):
    old = [f"continual.manifest={manifest(tmp_path / 'old.jsonl')}", "continual.clips=4"] if "ewc" in given else []
    run(tmp_path / "base", *steps(2))
    begin = [f"init_from={tmp_path / 'base'}", "optimizer.lr=1e-2"]
    run(tmp_path / "free", *steps(4), *begin)
    for name, numbers in (("whole", (4,)), ("parts", (2, 4))):
        for n in numbers:
            run(tmp_path / name, *steps(n, every=2), *begin, given, *old, "continual.weight=100.0")
    assert equal(states(tmp_path / "whole")["raw"], states(tmp_path / "parts")["raw"])

    def way(name):
        first, last = states(tmp_path / "base")["ema"], states(tmp_path / name)["raw"]
        return sum(float((last[n] - first[n]).square().sum()) for n in first)

    assert way("whole") < 0.9 * way("free")
    lines = [
        json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines() if "train/" in line
    ]
    assert lines[-1]["train/anchor"] > 0


def test_replay_brings_back_its_share_as_a_function_of_seed_and_number():
    class Numbers:
        def __init__(self, name):
            self.name = name

        def __getitem__(self, number):
            return self.name, number

    mixed = Replay(Numbers("new"), Numbers("old"), 0.3, seed=1)
    drawn = [mixed[n] for n in range(2000)]
    assert [number for _, number in drawn] == list(range(2000))
    assert 0.26 < sum(name == "old" for name, _ in drawn) / 2000 < 0.34
    assert drawn == [Replay(Numbers("new"), Numbers("old"), 0.3, seed=1)[n] for n in range(2000)]
    with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
        Replay(Numbers("new"), Numbers("old"), 1.5)


def test_run_with_replay_resumes_and_sees_other_clips(tmp_path):
    replay = f"replay={{manifest: {manifest(tmp_path / 'old.jsonl')}, share: 0.5}}"
    for name, numbers in (("whole", (4,)), ("parts", (2, 4))):
        for n in numbers:
            run(tmp_path / name, *steps(n, every=2), replay, f"data.path={shipped_path('datasets/clips/one')}")
    assert equal(states(tmp_path / "whole")["raw"], states(tmp_path / "parts")["raw"])
    run(tmp_path / "without", *steps(4), f"data.path={shipped_path('datasets/clips/one')}")
    assert not equal(states(tmp_path / "whole")["raw"], states(tmp_path / "without")["raw"])


def test_forgetting_is_told_and_written(tmp_path, capsys):
    old = manifest(tmp_path / "old.jsonl")
    for n in (1, 2):
        run(tmp_path / "run", *steps(n, every=1), f"forgetting={old}", "optimizer.lr=1e-2")
        told = json.loads((tmp_path / "run" / "forgetting.json").read_text())
        assert told["before"].keys() == told["after"].keys() >= {"log_mel_l1", "mr_stft"}
        assert "| log_mel_l1 |" in capsys.readouterr().err
    assert told["before"] != told["after"]
    lines = forgetting_report({"mr_stft": 1.0}, {"mr_stft": 2.0}, tmp_path / "f.json").splitlines()
    assert lines[-1] == "| mr_stft | 1.0000 | 2.0000 | worse |"


RATE = 8000


def put(folder, name, age=10.0, seed=0):
    path = folder / name
    soundfile.write(path, 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(seed)).numpy(), RATE)
    os.utime(path, (time.time() - age,) * 2)
    return path


def watched(folder, journal, **given):
    return WatchedFolder(folder, journal, 2000, RATE, block=10, patience=0.5, **given)


def test_files_that_arrive_are_heard_in_the_next_block_and_not_before(tmp_path):
    first = put(tmp_path, "a.wav")
    clips = watched(tmp_path, tmp_path / "journal")
    assert {path for n in range(10) for path in clips.sources(n)} == {first}
    second = put(tmp_path, "b.wav", seed=1)
    assert {path for n in range(10) for path in clips.sources(n)} == {first}
    assert {path for n in range(10, 20) for path in clips.sources(n)} == {first, second}


def test_half_written_files_are_not_read(tmp_path):
    first = put(tmp_path, "a.wav")
    put(tmp_path, "fresh.wav", age=0.0)
    (tmp_path / "torn.wav").write_bytes(first.read_bytes()[:20])
    os.utime(tmp_path / "torn.wav", (0, 0))
    assert [r.path.name for r in watched(tmp_path, tmp_path / "journal").files(0)] == ["a.wav"]


def test_all_processes_and_a_run_that_goes_on_agree_what_a_block_holds(tmp_path):
    put(tmp_path, "a.wav")
    one, other = (watched(tmp_path, tmp_path / "journal") for _ in range(2))
    before = [one[n] for n in range(20)]
    put(tmp_path, "b.wav", seed=1)
    assert all(torch.equal(other[n], before[n]) for n in reversed(range(20)))
    assert len(other.files(2)) == 2
    assert [path.name for path in sorted((tmp_path / "journal").iterdir())] == [f"block-{n:06d}.json" for n in range(3)]


def test_journal_is_kept_on_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first = put(tmp_path, "a.wav")
    clips = watched(tmp_path, tmp_path / "journal")
    assert clips.sources(0) == [first]
    put(tmp_path, "b.wav", seed=1)
    assert watched(tmp_path, tmp_path / "journal").sources(0) == [first]
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["block-000000.json"]


def test_empty_folder_is_waited_for_and_then_given_up(tmp_path):
    with pytest.raises(ValueError, match=r"holds no readable audio after 0\.5 s"):
        watched(tmp_path, tmp_path / "journal")[0]
    with pytest.raises(ValueError, match="no such folder"):
        watched(tmp_path / "nowhere", tmp_path / "journal")


def test_clips_of_a_folder_that_does_not_change_are_those_of_a_list(tmp_path):
    put(tmp_path, "a.wav")
    clips, plain = watched(tmp_path, tmp_path / "journal"), Crops(scan_folder(tmp_path), 2000, RATE)
    assert all(torch.equal(clips[n], plain[n]) for n in range(25))


def test_run_watches_a_folder_that_fills_and_resumes_bit_for_bit(tmp_path):
    folder = tmp_path / "filling"
    folder.mkdir()
    put(folder, "a.wav")
    given = ["data=watch", f"data.path={folder}", f"data.valid_manifest={manifest(tmp_path / 'v.jsonl')}"]
    given += ["data.watch.block=4", "data.n_workers=0"]
    run(tmp_path / "parts", *steps(2, every=2), *given)
    put(folder, "b.wav", seed=1)
    run(tmp_path / "parts", *steps(6, every=2), *given)
    journal = sorted((tmp_path / "parts" / "watch").iterdir())
    assert [len(json.loads(path.read_text())) for path in journal] == [1, 2, 2]
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "watch").mkdir()
    for path in journal:
        (tmp_path / "whole" / "watch" / path.name).write_bytes(path.read_bytes())
    run(tmp_path / "whole", *steps(6, every=2), *given)
    assert equal(states(tmp_path / "whole")["raw"], states(tmp_path / "parts")["raw"])
