"""A batch in parallel: the bytes of one process, each output once, whoever dies; the same command goes on."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import voiced
from support.batches import command, is_complete, one_thread, sounds, start, wait_for_outputs, write_recordings
from support.processes import environment

from audiodiff import audio
from audiodiff.cli import main
from audiodiff.pipelines.vocoding import VocodeRecipe

__all__ = ["one_thread"]


@pytest.fixture
def folder(tmp_path):
    return write_recordings(tmp_path / "in")


def test_workers_write_the_bytes_of_one_process(tmp_path, folder, tiny_model_path, one_thread, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (folder / "bad.wav").write_bytes(b"no audio")
    options = ["--model", str(tiny_model_path), "--device", "cpu", "--seed", "3"]
    assert main(["resynth", str(folder), str(tmp_path / "one"), *options]) == 1
    capsys.readouterr()
    assert main(["resynth", str(folder), str(tmp_path / "two"), *options, "--workers", "2", "--json"]) == 1
    output = capsys.readouterr()
    assert output.err.count("bad.wav") == 1
    assert "1 of 7 files failed" in output.err
    written = [result["output"] for result in json.loads(output.out) if "error" not in result]
    assert len(written) == len(set(written)) == 6
    assert len(sounds(tmp_path / "one")) == 6
    assert sounds(tmp_path / "two") == sounds(tmp_path / "one")
    assert is_complete(tmp_path / "two")


def test_workers_skip_what_is_whole(tmp_path, folder, tiny_model_path, one_thread, capsys):
    out = tmp_path / "out"
    call = ["resynth", str(folder), str(out), "--model", str(tiny_model_path), "--workers", "1"]
    assert main(call) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    (out / "0/2.wav").unlink()
    (out / "0/2.wav.json").unlink()
    capsys.readouterr()
    assert main(call) == 0
    assert "1 files" in capsys.readouterr().err
    after = {path: path.stat().st_mtime_ns for path in before}
    assert [path.name for path in before if before[path] != after[path]] == ["2.wav"]
    audio.write(folder / "1/3.wav", 0.1 * voiced(0.5, 16000), 16000)
    assert main(call) == 2
    assert "3.wav: exists, and was made otherwise; give -f" in capsys.readouterr().err
    assert main([*call, "-f"]) == 0
    assert [path.name for path in after if path.stat().st_mtime_ns != after[path]] == ["3.wav"]


def test_workers_overwrite_no_sound_of_another_recipe(tmp_path, folder, tiny_model_path, one_thread, capsys):
    out = tmp_path / "out"
    call = ["resynth", str(folder), str(out), "--model", str(tiny_model_path), "--workers", "1"]
    assert main(call) == 0
    assert main([*call, "--seed", "9"]) == 2
    (out / "0/0.wav.json").unlink()
    capsys.readouterr()
    assert main(call) == 2
    assert "0.wav: exists, and was made otherwise" in capsys.readouterr().err


def test_workers_redo_what_a_kill_cut_off_between_two_files(tmp_path, folder, tiny_model_path, one_thread):
    out = tmp_path / "out"
    call = ["resynth", str(folder), str(out), "--model", str(tiny_model_path), "--workers", "1"]
    assert main(call) == 0
    (out / "0/0.wav.json").rename(out / "0/.0.wav.json.abcd_123")
    os.utime(out / "0/.0.wav.json.abcd_123", (0, 0))
    assert main(call) == 0
    assert (out / "0/0.wav.json").is_file()
    assert is_complete(out)


@pytest.mark.parametrize(("out", "workers", "said"), [("out", "0", "from 1 to"), ("out.wav", "2", "give a folder")])
def test_workers_need_a_number_and_a_folder(tmp_path, folder, tiny_model_path, capsys, out, workers, said):
    source = folder if out == "out" else folder / "0/0.wav"
    call = ["resynth", str(source), str(tmp_path / out), "--model", str(tiny_model_path), "--workers", workers]
    assert main(call) == 2
    assert said in capsys.readouterr().err


def test_file_too_large_for_the_memory_fails_alone(tmp_path, folder, tiny_model_path, one_thread, monkeypatch, capsys):
    run = VocodeRecipe.run

    def run_out(recipe, vocoder, path):
        if path.name == "3.wav":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        return run(recipe, vocoder, path)

    monkeypatch.setattr(VocodeRecipe, "run", run_out)
    call = ["resynth", str(folder), str(tmp_path / "out"), "--model", str(tiny_model_path), "--workers", "1"]
    assert main(call) == 1
    assert "3.wav: out of memory; give it --chunk-seconds 10" in capsys.readouterr().err
    assert len(sounds(tmp_path / "out")) == 5


def test_linked_folders_are_read_once(tmp_path, folder, tiny_model_path, one_thread):
    linked = tmp_path / "links"
    linked.mkdir()
    (linked / "recordings").symlink_to(folder)
    (linked / "again").symlink_to(linked)
    assert main(["resynth", str(linked), str(tmp_path / "out"), "--model", str(tiny_model_path)]) == 0
    assert len(sounds(tmp_path / "out")) == 6


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("options", [[], ["--workers", "1"], ["--workers", "2"]])
def test_batch_that_a_signal_stops_leaves_whole_files(tmp_path, folder, tiny_model_path, number, status, options):
    out = tmp_path / "out"
    process = start(tiny_model_path, folder, out, "--steps", "60", *options)
    wait_for_outputs(out, process)
    process.send_signal(number)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == status, said
    assert 0 < len(sounds(out)) < 6
    assert is_complete(out)
    if not options:
        assert "interrupted; what was not finished is not written" in said
        return
    assert "of 6 files; run the same command again to go on" in said
    subprocess.run(command(tiny_model_path, folder, out, "--steps", "60", *options), env=environment(), check=True)
    assert len(sounds(out)) == 6


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["command", "worker"])
def test_batch_that_is_killed_goes_on_to_the_same_bytes(tmp_path, folder, tiny_model_path, victim):
    """Killed workers end, and what they finished stays."""
    subprocess.run(command(tiny_model_path, folder, tmp_path / "one", "--steps", "60"), env=environment(), check=True)
    out = tmp_path / "two"
    first = start(tiny_model_path, folder, out, "--steps", "60", "--workers", "2")
    wait_for_outputs(out, first)
    workers = children(first.pid)
    os.kill(first.pid if victim == "command" else workers[0], signal.SIGKILL)
    said = first.communicate(timeout=300)[1]
    assert first.returncode == (-signal.SIGKILL if victim == "command" else 2)
    assert victim == "command" or "a worker died, as when the system runs out of memory; run the same command" in said
    assert not any(is_running(worker) for worker in workers)
    half = {name: (out / name).stat().st_mtime_ns for name in sounds(out) if (out / f"{name}.json").exists()}
    assert 0 < len(half) < 6
    subprocess.run(
        command(tiny_model_path, folder, out, "--steps", "60", "--workers", "2"), env=environment(), check=True
    )
    assert sounds(out) == sounds(tmp_path / "one")
    assert {name: (out / name).stat().st_mtime_ns for name in half} == half
    assert is_complete(out)


def is_running(pid):
    """Return whether a process runs; one that ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    """Return the process ids of the workers."""
    pids = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True).stdout.split()
    return [int(child) for child in pids if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
