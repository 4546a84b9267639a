"""Workers share a folder: each output once, the bytes of one process, whoever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from audiodiff.cli.claims import NAME, Claims, leftovers, shared, sweep
from conftest import voiced

from audiodiff import audio
from audiodiff.cli import main
from audiodiff.cli.jobs import Job

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}

HOLD = """
import sys, time
from pathlib import Path
from audiodiff.cli.claims import Claims
claims = Claims(Path(sys.argv[1]))
print(claims.take(Path(sys.argv[1]) / sys.argv[2]), flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path):
    """Recordings in a tree."""
    for i in range(6):
        path = tmp_path / "in" / str(i % 2) / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, 0.3 * voiced(0.3 + 0.1 * i, 16000, pitch=100 + 20 * i, seed=i), 16000)
    return tmp_path / "in"


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sounds(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.wav"))}


def strays(folder):
    return [p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".wav", ".json") and p.name != NAME]


def command(model, source, out, *options):
    call = [sys.executable, "-m", "audiodiff", "resynth", source, out, "--model", model, "--device", "cpu", *options]
    return [str(word) for word in call]


def holder(folder, name):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder, name], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "True\n"
    return other


def test_claim_is_held_by_one_process_and_given_up_when_it_is_killed(tmp_path):
    other = holder(tmp_path, "a.wav")
    with Claims(tmp_path) as claims:
        assert not claims.take(tmp_path / "a.wav")
        assert claims.take(tmp_path / "b.wav")
        other.kill()
        other.wait(10)
        assert claims.take(tmp_path / "a.wav")


def test_job_that_a_dead_worker_had_claimed_is_taken_up(tmp_path):
    jobs, other = [Job(tmp_path / n, tmp_path / f"{n}.wav") for n in "ab"], holder(tmp_path, "a.wav")
    done = []
    with Claims(tmp_path) as claims:
        work = shared(jobs, claims, lambda job: False, lambda job: done.append(job) or {})
        next(work)
        assert done == jobs[1:]  # the first is held
        other.kill()
        other.wait(10)
        assert list(work) == [{}]
    assert done == jobs[::-1]


def test_temporary_files_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path):
    jobs, other = [Job(tmp_path / n, tmp_path / f"{n}.wav") for n in "ab"], holder(tmp_path, "a.wav")
    for name in ("a.wav", "b.wav", "b.wav.json", "c.wav"):
        (tmp_path / f".{name}.abcd_123").touch()
    assert [len(leftovers(jobs)[job.output]) for job in jobs] == [1, 2]
    with Claims(tmp_path) as claims:
        sweep(jobs, claims)
    other.kill()
    other.wait(10)
    assert sorted(p.name for p in tmp_path.glob(".?.wav*")) == [".a.wav.abcd_123", ".c.wav.abcd_123"]


def test_two_workers_make_the_bytes_of_one_process_and_report_a_bad_file_once(
    tmp_path, folder, tiny_model_path, one_thread, monkeypatch, capsys
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (folder / "bad.wav").write_bytes(b"no audio")
    given = ["--model", str(tiny_model_path), "--device", "cpu", "--seed", "3"]
    assert main(["resynth", str(folder), str(tmp_path / "one"), *given]) == 1
    capsys.readouterr()
    assert main(["resynth", str(folder), str(tmp_path / "two"), *given, "--workers", "2", "--json"]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("bad.wav") == 1
    assert "1 of 7 files failed" in shown.err
    made = [r["output"] for r in json.loads(shown.out) if "error" not in r]
    assert len(made) == len(set(made)) == 6
    assert len(sounds(tmp_path / "one")) == 6
    assert sounds(tmp_path / "two") == sounds(tmp_path / "one")
    assert strays(tmp_path / "two") == []


def test_second_run_makes_only_what_is_missing_or_whose_input_has_changed(
    tmp_path, folder, tiny_model_path, one_thread, capsys
):
    call = ["resynth", str(folder), str(tmp_path / "out"), "--model", str(tiny_model_path), "--workers", "1"]
    assert main(call) == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.wav")}
    (tmp_path / "out/0/2.wav").unlink()
    (tmp_path / "out/0/2.wav.json").unlink()
    assert main(call) == 0
    assert "1 files" in capsys.readouterr().err
    after = {p: p.stat().st_mtime_ns for p in before}
    assert [p.name for p in before if before[p] != after[p]] == ["2.wav"]
    audio.write(folder / "1/3.wav", 0.1 * voiced(0.5, 16000), 16000)
    assert main(call) == 2
    assert "3.wav: exists, and was made otherwise; give -f" in capsys.readouterr().err
    assert main([*call, "-f"]) == 0
    assert [p.name for p in after if p.stat().st_mtime_ns != after[p]] == ["3.wav"]


def test_sound_of_another_seed_or_of_nobody_is_not_overwritten(tmp_path, folder, tiny_model_path, one_thread, capsys):
    call = ["resynth", str(folder), str(tmp_path / "out"), "--model", str(tiny_model_path), "--workers", "1"]
    assert main(call) == 0
    assert main([*call, "--seed", "9"]) == 2
    (tmp_path / "out/0/0.wav.json").unlink()
    capsys.readouterr()
    assert main(call) == 2
    assert "0.wav: exists, and was made otherwise" in capsys.readouterr().err
    (tmp_path / "out/0/.0.wav.json.abcd_123").touch()  # a worker was killed between the two renames
    assert main(call) == 0
    assert (tmp_path / "out/0/0.wav.json").is_file()
    assert strays(tmp_path / "out") == []


@pytest.mark.parametrize(("out", "workers", "told"), [("out", "0", "from 1 to"), ("out.wav", "2", "give a folder")])
def test_workers_without_a_number_or_a_folder_are_refused(
    tmp_path, folder, tiny_model_path, capsys, out, workers, told
):
    source = folder if out == "out" else folder / "0/0.wav"
    assert (
        main(["resynth", str(source), str(tmp_path / out), "--model", str(tiny_model_path), "--workers", workers]) == 2
    )
    assert told in capsys.readouterr().err


def test_worker_killed_half_way_leaves_the_outputs_of_one_process(tmp_path, folder, tiny_model_path):
    options = ["--steps", "60"]
    subprocess.run(command(tiny_model_path, folder, tmp_path / "one", *options), env=ENVIRONMENT, check=True)
    out = tmp_path / "two"
    call = command(tiny_model_path, folder, out, *options, "--workers", "1")
    first = subprocess.Popen(call, env=ENVIRONMENT)
    deadline = time.monotonic() + 60
    while not list(out.rglob("*.wav.json")) and time.monotonic() < deadline:
        time.sleep(0.001)
    second = subprocess.Popen(call, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    first.send_signal(signal.SIGKILL)
    assert first.wait(10) == -signal.SIGKILL
    half = sounds(out)
    stamps = {name: (out / name).stat().st_mtime_ns for name in half}
    assert 0 < len(half) < 6
    told = second.communicate(timeout=120)[1]
    assert second.returncode == 0, told
    assert sounds(out) == sounds(tmp_path / "one")
    kept = [name for name in half if (out / name).stat().st_mtime_ns == stamps[name]]
    assert len(kept) >= len(half) - 1  # at most the one that was being written is made again
    assert strays(out) == []


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the workers by /proc")
def test_crew_bears_the_death_of_one_of_its_workers(tmp_path, folder, tiny_model_path):
    out = tmp_path / "two"
    call = command(tiny_model_path, folder, out, "--steps", "60", "--workers", "2")
    crew = subprocess.Popen(call, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.rglob("*.wav.json")) and time.monotonic() < deadline:
        time.sleep(0.001)
    children = subprocess.run(["pgrep", "-P", str(crew.pid)], capture_output=True, text=True, check=True).stdout.split()
    workers = [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
    os.kill(workers[-1], signal.SIGKILL)
    told = crew.communicate(timeout=120)[1]
    assert crew.returncode == 0, told
    assert "1 of 2 workers died; the others did their work" in told
    assert len(sounds(out)) == 6
    assert len(list(out.rglob("*.json"))) == 6
    assert strays(out) == []


def test_torchrun_ranks_share_the_folder(tmp_path, folder, tiny_model_path):
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "audiodiff"]
    given = command(tiny_model_path, folder, tmp_path / "two", "--workers", "1")[3:]
    done = subprocess.run([*call, *given], env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    made = [int(line.split()[0]) for line in done.stderr.splitlines() if " s of audio in " in line]
    assert len(made) == 2
    assert sum(made) == 6
