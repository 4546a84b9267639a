"""Files at URLs: read and written whole, compared as local ones are, refused in one line."""

import contextlib
import socket
import subprocess

import fsspec
import pytest
from support.batches import command, one_thread, sounds, write_recordings
from support.processes import environment, free_port, started, wait_until

from audiodiff.cli import main
from audiodiff.utils import remote

__all__ = ["one_thread"]


@pytest.fixture
def bucket():
    """An empty file system in memory."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_batch_between_urls_equals_one_between_folders(tmp_path, tiny_model_path, bucket, one_thread, capsys):
    folder = write_recordings(tmp_path / "in", 3)
    bucket.put(f"{folder}/", "/in/", recursive=True)
    model = ["--model", str(tiny_model_path)]
    call = ["resynth", "memory://in", "memory://out", *model, "--workers", "1"]
    assert main(["resynth", str(folder), str(tmp_path / "out"), *model]) == 0
    assert main(call) == 0
    expected = sounds(tmp_path / "out")
    assert {name: bucket.cat(f"/out/{name}") for name in expected} == expected
    bucket.rm("/out/0/0.wav")
    capsys.readouterr()
    assert main(call) == 0
    assert "1 files" in capsys.readouterr().err
    assert bucket.cat("/out/0/0.wav") == expected["0/0.wav"]
    bucket.pipe("/out/0/0.wav.json", b"{}")
    assert main(call) == 2
    assert "memory://out/0/0.wav: exists, and was made otherwise" in capsys.readouterr().err


def test_regenerate_fetches_the_input_of_its_url(tmp_path, tiny_model_path, bucket, one_thread, capsys):
    folder, model = write_recordings(tmp_path / "in", 1), ["--model", str(tiny_model_path)]
    bucket.put(f"{folder}/0/0.wav", "/a.wav")
    first, again = tmp_path / "first.wav", tmp_path / "again.wav"
    assert main(["resynth", "memory://a.wav", str(first), *model]) == 0
    assert main(["regenerate", f"{first}.json", str(again)]) == 0
    assert again.read_bytes() == first.read_bytes()
    bucket.pipe("/a.wav", b"other")
    assert main(["regenerate", f"{first}.json", str(again), "-f"]) == 2
    assert "memory://a.wav has changed" in capsys.readouterr().err


def test_output_at_a_url_is_uploaded_last_and_whole(bucket, monkeypatch):
    """The sound goes up behind its sidecar: if it is there, both are. A block that fails uploads nothing."""
    uploads, put_file = [], bucket.put_file
    monkeypatch.setattr(bucket, "put_file", lambda source, url: (uploads.append(url), put_file(source, url)))
    with remote.local_output("memory://out/a.wav", beside=(".json",)) as path:
        path.write_bytes(b"sound")
        path.with_name("a.wav.json").write_bytes(b"note")
    with pytest.raises(OSError, match="full"), remote.local_output("memory://out/b.wav"):
        raise OSError("full")
    assert uploads == ["memory://out/a.wav.json", "memory://out/a.wav"]
    assert sorted(bucket.find("/out")) == ["/out/a.wav", "/out/a.wav.json"]


@pytest.mark.parametrize("source", ["folder", "memory://in"])
def test_bucket_that_refuses_ends_the_batch(tmp_path, tiny_model_path, bucket, one_thread, monkeypatch, capsys, source):
    folder = write_recordings(tmp_path / "in", 3)
    if source != "folder":
        bucket.put(f"{folder}/", "/in/", recursive=True)

    def refuse(source, url):
        raise PermissionError("Denied")

    monkeypatch.setattr(bucket, "put_file", refuse)
    given = str(folder) if source == "folder" else source
    assert main(["resynth", given, "memory://out", "--model", str(tiny_model_path), "--workers", "1"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith("the storage refuses (Denied); check the address and the credentials")
    assert line.count(".wav") == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nosuch://bucket/in", "Protocol not known: nosuch"),
        ("memory://missing", "no such file; give a file, several files or a folder"),
    ],
)
def test_url_that_cannot_be_read_is_named_in_one_line(tmp_path, bucket, capsys, url, said):
    assert main(["resynth", url, str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert url in line
    assert said in line


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """Start a server that speaks S3 on loopback, with an empty bucket; return its fsspec file system."""
    pytest.importorskip("moto.server", reason="needs pip install 'moto[server]'")
    s3fs = pytest.importorskip("s3fs")
    port = free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = started("-m", "moto.server", "-H", "127.0.0.1", "-p", port, **quiet)
    try:
        wait_until(lambda: answers(port), server)
        for name, value in {"ENDPOINT_URL": f"http://127.0.0.1:{port}", "ACCESS_KEY_ID": "a"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        system = s3fs.S3FileSystem()
        system.mkdir("sounds")
        yield system
        s3fs.S3FileSystem.clear_instance_cache()
    finally:
        server.kill()
        server.wait(10)


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.mark.slow
def test_batch_between_buckets_equals_one_between_folders(tmp_path, tiny_model_path, s3):
    """A real S3 protocol, by two processes; then a restart, a bucket that is not there, and a wrong key."""
    folder = write_recordings(tmp_path / "in", 4)
    subprocess.run(command(tiny_model_path, folder, tmp_path / "out"), env=environment(), check=True)
    expected = sounds(tmp_path / "out")
    s3.put(f"{folder}/", "sounds/in/", recursive=True)

    def run(source, out):
        call = command(tiny_model_path, source, out, "--workers", "2")
        return subprocess.run(call, env=environment(), capture_output=True, text=True, timeout=900)

    done = run("s3://sounds/in", "s3://sounds/out")
    assert done.returncode == 0, done.stderr
    assert {name: s3.cat(f"sounds/out/{name}") for name in expected} == expected
    s3.rm("sounds/out/0/0.wav")
    assert "1 files" in run("s3://sounds/in", "s3://sounds/out").stderr
    s3.invalidate_cache()
    assert s3.cat("sounds/out/0/0.wav") == expected["0/0.wav"]
    for source, out, said in [
        ("s3://sounds/in", "s3://missing/out", "s3://missing/out/"),
        ("s3://missing/in", "s3://sounds/out", "s3://missing/in: "),
    ]:
        done = run(source, out)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
