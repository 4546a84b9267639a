"""Kill work at random moments, and see what is left: `python -m support.killing WORK FOLDER KILLS SEED`.

Each run is a fork of this process, which has imported everything, so that a kill costs no start. A run that is killed
is followed by one of the same command; one that ends is compared with a run that nobody killed, and its folder is
emptied. What is printed, as JSON: kills, runs that ended before theirs, what was half-written, lost, or hung.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from conftest import tiny_vocoder, voiced
from hydra import compose, initialize_config_dir
from support.batches import is_complete, sounds, write_recordings
from support.training import TINY

from audiodiff import audio
from audiodiff.cli import main as command_line
from audiodiff.data.folders import scan_folder
from audiodiff.models.base import Model
from audiodiff.training.run import train
from audiodiff.tuning.search import Study
from audiodiff.utils.config import conf_dir

HANGS = 300  # seconds after which a run that nobody kills is said to hang


class Work(NamedTuple):
    """What is killed: it works in a folder, whose parent holds what it reads.

    Attributes:
        run: Does the work, or goes on with it.
        whole: Says what is half-written in a folder that was left at any moment; nothing if all is well.
        result: Returns what the work is for, as text, once it has ended.
    """

    run: Callable[[Path], None]
    whole: Callable[[Path], str]
    result: Callable[[Path], str]


def text_of(state) -> str:
    """Write the numbers of a model so that two of them can be compared."""
    return str({name: tensor.double().sum().item() for name, tensor in state.items()})


# --- training ----------------------------------------------------------------------------------------------------


def run_training(folder):
    steps = ["trainer.max_steps=8", "trainer.checkpoint_every=2", "trainer.val_check_interval=8", "resume=auto"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", [*TINY, f"run_dir={folder}/run", *steps])
    train(cfg)


def whole_training(folder):
    for name in ("last.ckpt", "model.safetensors"):
        if (path := folder / "run" / name).exists():
            Model.load(path)
    lines = folder / "run/metrics.jsonl"
    for line in lines.read_text().splitlines() if lines.is_file() else []:
        json.loads(line)
    return ""


def result_training(folder):
    return "".join(text_of(Model.load(folder / "run/last.ckpt", weights=w).state_dict()) for w in ("ema", "raw"))


# --- saving ------------------------------------------------------------------------------------------------------


def two_models():
    """Make two models whose descriptions differ as their weights do."""
    models = [tiny_vocoder(seed) for seed in (0, 1)]
    for number, model in enumerate(models):
        model.config["steps"] = number + 1
    return models


def run_saving(folder):
    models = two_models()
    for number in range(60):
        models[number % 2].save(folder / "model")


def whole_saving(folder):
    if not (folder / "model.safetensors").exists():
        return ""
    model = Model.load(folder / "model.safetensors")
    kept = two_models()[model.steps - 1]
    return "" if text_of(model.state_dict()) == text_of(kept.state_dict()) else "weights and description differ"


def result_saving(folder):
    return text_of(Model.load(folder / "model.safetensors").state_dict())


# --- sharding ----------------------------------------------------------------------------------------------------


def run_sharding(folder):
    if not (folder / "shards").exists():
        assert command_line(["shard", str(folder.parent / "in"), str(folder / "shards"), "--chunk-mb", "0.05"]) == 0


def whole_sharding(folder):
    return "" if not (folder / "shards").exists() else (len(result_sharding(folder)) == 0) * "no pieces"


def result_sharding(folder):
    from audiodiff.data.shards.corpus import Corpus

    corpus = Corpus(str(folder / "shards"), folder / "cache")
    data = corpus.open("train")
    return str([len(bytes(data[n])) for n in range(len(corpus))])


# --- a batch -----------------------------------------------------------------------------------------------------


def run_batch(folder):
    model = str(folder.parent / "model.safetensors")
    call = ["resynth", str(folder.parent / "in"), str(folder / "out"), "--model", model, "--device", "cpu"]
    assert command_line([*call, "--workers", "1"]) == 0


def whole_batch(folder):
    files = list(folder.rglob("*.wav"))
    for path in files:
        audio.read(path)
    for path in folder.rglob("*.wav.json"):
        json.loads(path.read_text())
    return ""


def result_batch(folder):
    return str((is_complete(folder / "out"), sounds(folder / "out")))


# --- a search ----------------------------------------------------------------------------------------------------


def run_search(folder):
    def objective(trial, values, place):
        for step in range(5):
            trial.report(values["x"], step)
            time.sleep(0.02)
        return values["x"] ** 2

    Study(folder, "kills", {"x": {"low": -1.0, "high": 1.0}}, stale_seconds=0.5).run(objective, 10)


def whole_search(folder):
    if not (folder / "journal.log").exists():
        return ""
    trials = Study(folder, "kills", {"x": {"low": -1.0, "high": 1.0}}, stale_seconds=0.5).trials()
    wrong = [t.number for t in trials if t.state.name == "COMPLETE" and abs(t.value - t.params["x"] ** 2) > 1e-3]
    return f"trials {wrong} hold other values" if wrong else ""


def result_search(folder):
    study = Study(folder, "kills", {"x": {"low": -1.0, "high": 1.0}}, stale_seconds=0.5)
    return str(study.ended() >= 10)


WORKS = {
    "training": Work(run_training, whole_training, result_training),
    "saving": Work(run_saving, whole_saving, result_saving),
    "sharding": Work(run_sharding, whole_sharding, result_sharding),
    "batch": Work(run_batch, whole_batch, result_batch),
    "search": Work(run_search, whole_search, result_search),
}


# --- killing -----------------------------------------------------------------------------------------------------


def forked(work, folder) -> int:
    """Start a run in a process of its own, and return its number."""
    if process := os.fork():
        return process
    status = 1
    try:
        os.setsid()
        with open(folder.parent / "log", "a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            try:
                work.run(folder)
                status = 0
            except BaseException:
                traceback.print_exc()
    finally:
        os._exit(status)


def ended(process, seconds) -> int | None:
    """Wait for a run for so long, and return its status; None if it has not ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        number, status = os.waitpid(process, os.WNOHANG)
        if number:
            return status
        time.sleep(0.002)
    return None


def killed(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def emptied(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kills", type=int)
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    write_recordings(options.folder / "in")
    scan_folder(options.folder / "in")
    tiny_vocoder().save(options.folder / "model")
    audio.resample(voiced(0.1), 16000, 8000)  # imports what it needs
    print(json.dumps(report(WORKS[options.work], options.folder, options.kills, random.Random(options.seed))))


def report(work, place, kills, draw):
    """Kill so many runs, and count."""
    counts = {"kills": 0, "ended": 0, "half-written": [], "lost": [], "hangs": 0}
    begun, folder = time.monotonic(), emptied(place / "whole")
    for _ in range(2):  # the first fills caches, the second is timed
        begun, folder = time.monotonic(), emptied(folder)
        if ended(forked(work, folder), HANGS) != 0:
            raise SystemExit((place / "log").read_text())
    duration, expected = time.monotonic() - begun, work.result(folder)
    folder = emptied(place / "killed")

    def check(status):
        counts["hangs"] += status is None
        if status or (status == 0 and work.result(folder) != expected):
            counts["lost"].append((place / "log").read_text()[-500:] if status else work.result(folder)[:500])
        emptied(folder)

    while counts["kills"] < kills:
        process = forked(work, folder)
        status = ended(process, draw.uniform(0, 1.1 * duration))
        if status is not None:
            counts["ended"] += 1
            check(status)
            continue
        killed(process)
        counts["kills"] += 1
        try:
            if half := work.whole(folder):
                counts["half-written"].append(half)
        except Exception as error:
            counts["half-written"].append(repr(error))
    process = forked(work, folder)
    status = ended(process, HANGS)
    if status is None:
        killed(process)
    check(status)
    return counts | {"seconds": round(duration, 2)}


if __name__ == "__main__":
    sys.exit(main())
