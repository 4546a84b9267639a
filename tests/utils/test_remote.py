"""Files at URLs: read and written whole, compared as local ones are, refused in one line."""

import fsspec
import pytest
from support.batches import one_thread, sounds, write_recordings

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


def test_output_at_a_url_is_uploaded_last_and_whole(bucket):
    """The sound goes up behind its sidecar: if it is there, both are. A block that fails uploads nothing."""
    uploads = []
    bucket.put_file, original = lambda source, url: (uploads.append(url), original(source, url)), bucket.put_file
    try:
        with remote.local_output("memory://out/a.wav", beside=(".json",)) as path:
            path.write_bytes(b"sound")
            path.with_name("a.wav.json").write_bytes(b"note")
        with pytest.raises(OSError, match="full"), remote.local_output("memory://out/b.wav"):
            raise OSError("full")
    finally:
        bucket.put_file = original
    assert uploads == ["memory://out/a.wav.json", "memory://out/a.wav"]
    assert sorted(bucket.find("/out")) == ["/out/a.wav", "/out/a.wav.json"]


def test_bucket_that_refuses_ends_the_batch(tmp_path, tiny_model_path, bucket, one_thread, monkeypatch, capsys):
    folder = write_recordings(tmp_path / "in", 3)
    monkeypatch.setattr(type(bucket), "put_file", lambda *_, **__: (_ for _ in ()).throw(PermissionError("Denied")))
    call = ["resynth", str(folder), "memory://out", "--model", str(tiny_model_path), "--workers", "1"]
    assert main(call) == 2
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
