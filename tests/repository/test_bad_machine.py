"""A machine that fails: full and read-only disks, files that vanish, two first commands at once, forked threads."""

import functools
import os
import subprocess

import numpy as np
import pytest
import torch
from conftest import tiny_vocoder, voiced
from support.batches import write_recordings
from support.processes import environment, python, started
from support.training import TINY

from audiodiff import audio
from audiodiff.cli import main

pytestmark = pytest.mark.slow
SIZE = 3 * 2**20  # bytes of the small disk
STEPS = ["trainer.max_steps=6", "trainer.checkpoint_every=2", "trainer.val_check_interval=6"]


def mounted(*options):
    done = subprocess.run(["mount", *map(str, options)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """A disk of three MiB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def filled(disk, left):
    """Fills a disk up, save for some bytes."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "filler").write_bytes(bytes(max(0, free - left)))


def read_only(disk, yes=True):
    subprocess.run(["mount", "-o", f"remount,{'ro' if yes else 'rw'}", disk], check=True)


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "filler"}


@pytest.fixture
def place(tmp_path):
    """Recordings, a mel and a model on a disk that works."""
    write_recordings(tmp_path / "in")
    tiny_vocoder().save(tmp_path / "model")
    np.save(tmp_path / "mel.npy", np.full((80, 400), -5.0, np.float32))
    return tmp_path


def commands(place, disk):
    """Return commands that write to the disk, by name."""
    model = ["--model", str(place / "model.safetensors"), "--device", "cpu"]
    found = {
        "resynth": ["resynth", str(place / "in/0/0.wav"), str(disk / "out.wav"), *model],
        "vocode": ["vocode", str(place / "mel.npy"), str(disk / "out.wav"), *model],
        "mel": ["mel", str(place / "in/0/0.wav"), str(disk / "out.npy"), *model],
        "plot": ["plot", str(place / "in/0/0.wav"), str(disk / "out.png")],
        "a batch": ["resynth", str(place / "in"), str(disk / "out"), *model, "--workers", "1"],
    }
    try:
        import litdata  # noqa: F401
    except ImportError:
        return found
    return found | {"shard": ["shard", str(place / "in"), str(disk / "shards")]}


def refused(call, disk, capsys):
    """Runs a command that cannot write, and checks that it says so in a line and leaves no half of anything."""
    before = contents(disk)
    capsys.readouterr()
    status = main(call)
    told = [line for line in capsys.readouterr().err.splitlines() if "seconds" not in line]
    assert status in (1, 2), told
    assert any("written" in line or "space" in line or "created" in line for line in told), told
    assert not any("Traceback" in line for line in told)
    assert contents(disk) == before


@pytest.mark.parametrize("name", ["resynth", "vocode", "mel", "plot", "a batch", "shard"])
def test_full_and_read_only_disks_are_told_and_leave_nothing(place, disk, capsys, name):
    call = commands(place, disk).get(name) or pytest.skip("there is no litdata")
    filled(disk, 4096)
    refused(call, disk, capsys)
    (disk / "filler").unlink()
    read_only(disk)
    refused(call, disk, capsys)
    read_only(disk, False)
    assert main(call) == 0  # the same command goes on


def test_full_disk_keeps_the_model_that_was_saved_before(place, disk):
    tiny_vocoder(1).save(disk / "model")
    before = contents(disk)
    filled(disk, 8192)
    with pytest.raises(ValueError, match="No space left"):
        tiny_vocoder(2).save(disk / "model")
    assert contents(disk) == before


WATCHING = """
import sys
from pathlib import Path
from audiodiff.training.callbacks import Checkpoints
saved, strike = Checkpoints._save, sys.argv[1]

def struck(self, trainer, last=False):
    saved(self, trainer, last=last)
    if trainer.global_step == 2:
        exec(strike)

Checkpoints._save = struck
from audiodiff.training.command import main
sys.argv[1:] = sys.argv[2:]
main()
"""


def trained(strike, *overrides):
    """Trains in a process, and strikes once the first checkpoint is there."""
    return python("-c", WATCHING, strike, *TINY, *STEPS, *overrides, timeout=300)


@pytest.fixture(params=["full", "read-only"])
def failing(request, tmp_path):
    """A folder for a run, what makes it fail, and what mends it."""
    if request.param == "full":
        disk = request.getfixturevalue("disk")
        strike = f"import os; s=os.statvfs('{disk}'); open('{disk}/filler','wb').write(bytes(s.f_bavail*s.f_frsize))"
        yield disk / "run", strike, (disk / "filler").unlink
        return
    run = tmp_path / "run"  # which even the superuser cannot write into
    if subprocess.run(["chattr", "+i", tmp_path], capture_output=True).returncode:
        pytest.skip("the file system knows no folders that cannot be changed")
    mend = functools.partial(subprocess.run, ["chattr", "-i", tmp_path, run], capture_output=True)
    mend()
    yield run, f"import subprocess; subprocess.run(['chattr', '+i', '{run}'], check=True)", mend
    mend()


def test_training_keeps_its_last_checkpoint_where_writing_fails(failing):
    """It goes on to the end, says what could not be saved, and the same command does the rest."""
    run, strike, mend = failing
    done = trained(strike, f"run_dir={run}")
    assert done.returncode == 2, (done.returncode, done.stderr[-2000:])
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert "run the same command" in done.stderr
    assert torch.load(run / "last.ckpt", weights_only=True)["global_step"] == 2
    assert not list(run.glob(".*.part"))
    mend()
    done = trained("pass", f"run_dir={run}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert torch.load(run / "last.ckpt", weights_only=True)["global_step"] == 6


def test_recordings_that_vanish_mid_epoch_are_left_out(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(12):
        audio.write(folder / f"{n:02d}.wav", voiced(1.0, seed=n), 16000)
    strike = f"from pathlib import Path; [p.unlink() for p in sorted(Path('{folder}').glob('*.wav'))[:6]]"
    options = [f"run_dir={tmp_path}/run", "data=folder", f"data.path={folder}", "data.n_workers=0"]
    done = trained(strike, *options, "trainer.max_steps=20", "data.max_bad=0.9")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "no such file" in done.stdout + done.stderr
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == 20


def test_two_first_commands_at_once_compile_once_and_both_end(tmp_path, speech):
    """With an empty cache of compiled code, as on a machine where nothing has run yet."""
    cache = environment() | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    options = ["--model", "speech-16k", "--device", "cpu", "-f"]
    outs = [tmp_path / f"{n}.wav" for n in range(2)]
    call = ["-m", "audiodiff", "resynth", speech]
    runs = [started(*call, out, *options, env=cache, stderr=subprocess.PIPE) for out in outs]
    told = [run.communicate(timeout=580)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert outs[0].read_bytes() == outs[1].read_bytes()


FORKING = """
import os, sys, threading
import torch
from conftest import tiny_vocoder
torch.set_num_threads(2)
model = tiny_vocoder()
mel = torch.full((1, 80, 200), -5.0)
first = model.generate(mel)
child = os.fork()
if not child:
    try:
        again = model.generate(mel)
        os._exit(0 if torch.equal(first, again) else 3)
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_forked_child_after_threads_sounds_or_says_why_not():
    done = python("-c", FORKING, env=environment() | {"OMP_NUM_THREADS": "2"}, timeout=120)
    status = int(done.stdout)
    assert status == 0 or (status == 2 and "fork" in done.stderr), done.stderr
