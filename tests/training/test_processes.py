"""Training as processes see it: two of them share a run, and one that is killed goes on as if it had not been."""

import json
import os
import signal

import pytest

pytest.importorskip("litdata")  # beside a CPU build of torch its torchvision does not load

import soundfile
import torch
from support.processes import python, started, wait_until
from support.training import TINY, TINY_ONE_SHOTS, equal

from audiodiff.data import Augment, Crops, OneShots
from audiodiff.data.folders import scan_folder
from audiodiff.data.recordings import held_out
from audiodiff.data.shards.corpus import Corpus
from audiodiff.data.shards.streaming import ClipStream, StreamLoader
from audiodiff.data.shards.writing import pack

ALONE = ["trainer.devices=1"]
SIGNS = {"above": 1, "below": -1}
LABELLED = ["data=labelled-shards", "+augment.gain_db=[-6,0]", "lr_schedule.total_steps=20", "log_every=1"]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]

DRIVER = """
import sys
import torch
from audiodiff.training.hydra_config import composed
from audiodiff.training.run import train
from audiodiff.training.callbacks import Checkpoints
from audiodiff.training.module import LitModel

at_end, step, seen = Checkpoints.on_train_end, LitModel.training_step, []

def told(self, trainer, module):
    at_end(self, trainer, module)
    found = {"weights": module.state_dict(), "seen": [torch.cat(parts) for parts in zip(*seen)]}
    torch.save(found, f"{sys.argv[1]}/rank{trainer.global_rank}.pt")

def noted(self, batch, batch_idx):
    parts = batch if isinstance(batch, list) else [batch]
    seen.append([part.clone() for part in parts])
    return step(self, batch, batch_idx)

Checkpoints.on_train_end, LitModel.training_step = told, noted
train(composed(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Thirty-two pieces, each longer than a clip, in several chunks; one recording is held out."""
    place = tmp_path_factory.mktemp("recordings")
    for n in range(33):
        noise = 0.2 * torch.randn(9600, generator=torch.Generator().manual_seed(n)).clamp(-4, 4)
        soundfile.write(place / f"{n:02d}.wav", noise.numpy(), 16000, subtype="PCM_16")
    out = tmp_path_factory.mktemp("packed") / "shards"
    pack(*held_out(scan_folder(place)), out, chunk_mb=0.021)
    return out


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Sixty-four sounds in several chunks, and of what class each is can be heard: above zero, or below."""
    place = tmp_path_factory.mktemp("sounds")
    for label, sign in SIGNS.items():
        (place / label).mkdir()
        for n in range(32):
            noise = torch.rand(1200, generator=torch.Generator().manual_seed(n)) + 0.5
            soundfile.write(place / label / f"{n:02d}.wav", (sign * 0.5 * noise).numpy(), 8000, subtype="PCM_16")
    recordings = scan_folder(place)
    out = tmp_path_factory.mktemp("packed") / "shards"
    pack(recordings, recordings[::32], out, chunk_mb=0.02)
    return out


def command(folder, *overrides, tiny=TINY):
    return ["-m", "audiodiff.train", *tiny, f"run_dir={folder}", *overrides]


def finished(folder, *overrides, tiny=TINY):
    done = python(*command(folder, *overrides, tiny=tiny), timeout=300)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "last.ckpt", weights_only=True), done


def steps(n):
    return [f"trainer.max_steps={n}", "trainer.checkpoint_every=5", "trainer.val_check_interval=20"]


def killed(folder, *overrides, tiny=TINY):
    """Starts a run, and kills all of its processes without warning soon after step 10."""
    metrics, call = folder / "metrics.jsonl", command(folder, *overrides, tiny=tiny)

    def begun():
        return metrics.is_file() and any(json.loads(line)["step"] >= 11 for line in metrics.read_text().splitlines())

    with open(folder.with_suffix(".log"), "w") as log:
        run = started(*call, stdout=log, stderr=log, start_new_session=True)
    wait_until(begun, run, 200)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(30)
    return torch.load(folder / "last.ckpt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "source"),
    [(ALONE, None), (TWO, None), (TWO, "shards"), (TWO, "labelled")],
    ids=["alone", "two", "two-from-shards", "two-from-labelled-shards"],
)
def test_run_that_is_killed_and_goes_on_equals_one_that_is_not(tmp_path, request, processes, source):
    given, tiny = [*steps(20), *processes], TINY_ONE_SHOTS if source == "labelled" else TINY
    if source:
        given += [f"data.path={request.getfixturevalue(source)}", "data.n_workers=1"]
        given += {"shards": ["data=shards"], "labelled": LABELLED}[source]
    straight, _ = finished(tmp_path / "straight", *given, tiny=tiny)
    half = killed(tmp_path / "killed", *given, tiny=tiny)
    assert 10 <= half["global_step"] < 20
    resumed, _ = finished(tmp_path / "killed", *given, tiny=tiny)
    for key in ("state_dict", "current_model_state"):
        assert equal(straight[key], resumed[key])
        assert not equal(half[key], resumed[key])
    old, new = (checkpoint["optimizer_states"][0]["state"] for checkpoint in (straight, resumed))
    assert all(torch.equal(old[i]["exp_avg"], new[i]["exp_avg"]) for i in old)
    assert straight["lr_schedulers"] == resumed["lr_schedulers"]


def two_ranks(folder, *overrides, tiny=TINY):
    """Runs two processes under torchrun; returns what each ended with, and saw: clips, and labels if it has them."""
    driver = folder / "driver.py"
    driver.write_text(DRIVER)
    call = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", driver, folder]
    done = python(*call, *tiny, *TWO, f"run_dir={folder / 'run'}", *overrides, timeout=300)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_share_one_run_and_end_with_equal_weights(tmp_path):
    ranks = two_ranks(tmp_path, *steps(6), "previews=1", "trainer.val_check_interval=6")
    assert equal(*(rank["weights"] for rank in ranks))
    folder = tmp_path / "run"
    assert len(list(folder.glob("previews/*.wav"))) == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["run"]
    lines = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == sorted(set(lines))  # one process writes


def numbers_of(place, view, seen, length):
    """Return the numbers of clips that ranks saw, by comparison with a pass of one process."""
    stream = StreamLoader(ClipStream(Corpus(str(place)), view), 1, 0, length)
    known = {}
    for _, batch in zip(range(length), stream, strict=False):
        clips = batch[0] if isinstance(batch, list) else batch
        known[clips[0].numpy().tobytes()] = stream.numbers[-1][0]
    return [[known[clip.numpy().tobytes()] for clip in clips] for clips in seen]


@pytest.mark.slow
def test_two_ddp_processes_on_shards_see_each_piece_once(tmp_path, shards):
    """Eight steps of two clips by two processes are one pass."""
    ranks = two_ranks(tmp_path, *steps(8), "data=shards", f"data.path={shards}")
    assert equal(*(rank["weights"] for rank in ranks))
    first, second = numbers_of(shards, lambda s: Crops(s, 8192, 16000), [rank["seen"][0] for rank in ranks], 32)
    assert sorted(first + second) == list(range(32))


@pytest.mark.slow
def test_two_ddp_processes_on_labelled_shards_see_clips_with_their_classes(tmp_path, labelled):
    """Eight steps of four clips by two processes are one pass."""
    ranks = two_ranks(tmp_path, *steps(8), f"data.path={labelled}", *LABELLED, tiny=TINY_ONE_SHOTS)
    assert equal(*(rank["weights"] for rank in ranks))

    def view(source):
        return OneShots(source, list(SIGNS), 1024, 8000, augment=Augment(gain_db=[-6, 0]))

    first, second = numbers_of(labelled, view, [rank["seen"][0] for rank in ranks], 64)
    assert sorted(first + second) == list(range(64))
    for clips, labels in (rank["seen"] for rank in ranks):
        assert clips.sum((1, 2)).sign().tolist() == [list(SIGNS.values())[label] for label in labels]


@pytest.mark.slow
def test_two_processes_tell_their_metrics_once_and_see_other_clips(tmp_path):
    together, done = finished(tmp_path / "together", *steps(4), *TWO)
    assert len(done.stdout.splitlines()[-1:]) == 1
    told = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(told) == 1
    alone, _ = finished(tmp_path / "alone", *steps(4), *ALONE)
    assert not equal(together["current_model_state"], alone["current_model_state"])
