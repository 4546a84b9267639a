"""Packed corpora: what is in them is what was recorded, and a clip is a function of seed, number and index."""

import itertools
import json
import random
import sys

import pytest
import soundfile
import torch
from support.training import equal, run, states, steps

from audiodiff import audio
from audiodiff.cli import main
from audiodiff.data import Augment, ResumableSampler, ShardClips, Shards, clip_loader
from audiodiff.data.manifest import Recording, held_out, read_manifest, scan_folder
from audiodiff.data.shards import storage
from audiodiff.data.shards.index import chunk_of, opened
from audiodiff.data.shards.writing import pack, pieces_of

RATE = 8000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty recordings of 0.2 to 1.2 s, all different."""
    place = tmp_path_factory.mktemp("recordings")
    for n in range(40):
        generator = torch.Generator().manual_seed(n)
        samples = 0.2 * torch.randn(1600 + 200 * n, generator=generator).clamp(-4, 4)
        soundfile.write(place / f"{n:02d}.wav", samples.numpy(), RATE, subtype="PCM_16")
    return place


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    """Those in pieces of at most 0.25 s: 16 chunks."""
    out = tmp_path_factory.mktemp("packed") / "shards"
    pack(*held_out(scan_folder(folder)), out, seconds=0.25, chunk_mb=0.017)
    return out


def pieces(shards):
    return [(c, p) for c, chunk in enumerate(shards.chunks) for p in range(chunk.n_pieces)]


def samples(data):
    with opened(data) as file:
        return file.read(dtype="int16")


def test_shards_hold_every_sample_of_every_recording_once(folder, packed):
    shards, (training, held) = Shards(str(packed)), held_out(scan_folder(folder))
    wanted = [
        soundfile.read(p.recording.path, start=p.start, frames=p.n_samples, dtype="int16")[0].tobytes()
        for p in pieces_of(training, 0.25)
    ]
    assert sorted(samples(shards.read(*place)).tobytes() for place in pieces(shards)) == sorted(wanted)
    assert len(shards) == len(wanted) == shards.facts["pieces"]
    assert shards.facts["hours"] * 3600 * RATE == pytest.approx(sum(r.n_samples for r in training))
    assert [r.n_samples for r in shards.validation()] == [r.n_samples for r in held]


def test_shards_of_one_chunk_come_from_all_of_the_corpus(folder, packed):
    shards = Shards(str(packed))
    sizes = [chunk.n_pieces for chunk in shards.chunks]
    assert len(sizes) == 16
    assert max(sizes) - min(sizes) <= 1
    number = {
        soundfile.read(p.recording.path, start=p.start, frames=p.n_samples, dtype="int16")[0].tobytes(): int(
            p.recording.path.stem
        )
        for p in pieces_of(scan_folder(folder), 0.25)
    }
    first = [number[samples(shards.read(0, p)).tobytes()] for p in range(sizes[0])]
    assert max(first) - min(first) > 20  # of 39; without shuffling, at most 9


def test_shards_are_litdatas(packed, tmp_path):
    cache = pytest.importorskip("litdata.streaming.cache")
    sampler = pytest.importorskip("litdata.streaming.sampler")
    shards, index = Shards(str(packed)), json.loads((packed / "index.json").read_text())
    theirs = cache.Cache(str(packed), chunk_bytes=index["config"]["chunk_bytes"])
    total = 0
    for c, chunk in enumerate(shards.chunks[:3]):
        for p in range(chunk.n_pieces):
            assert theirs[sampler.ChunkedIndex(total, c)] == shards.read(c, p)
            total += 1
    written = cache.Cache(str(tmp_path / "theirs"), chunk_bytes=4000)
    for number, place in enumerate(pieces(shards)[:6]):
        written[number] = shards.read(*place)
    written.done()
    written.merge()
    (tmp_path / "theirs" / "facts.json").write_text("{}")
    ours = Shards(str(tmp_path / "theirs"))
    assert [ours.read(*place) for place in pieces(ours)] == [shards.read(*place) for place in pieces(shards)[:6]]


def test_shard_clip_is_a_function_of_seed_and_number(packed):
    augment = Augment([0.8, 1.25], [-6, 0], mix=0.5)
    data, again = (ShardClips(Shards(str(packed)), 3000, 6000, 5, augment) for _ in range(2))
    numbers = list(range(0, 2000, 37))
    clips = {n: data[n] for n in numbers}
    random.Random(0).shuffle(numbers)
    assert all(torch.equal(again[n], clips[n]) for n in numbers)
    assert all(clip.shape == (1, 3000) for clip in clips.values())
    other = ShardClips(Shards(str(packed)), 3000, 6000, 6, augment)
    assert not any(torch.equal(other[n], clips[n]) for n in numbers[:5])


def test_shard_pieces_each_begin_one_clip_a_turn_in_another_order_each(packed):
    shards = Shards(str(packed))
    data = ShardClips(shards, 1000, RATE)
    lanes = [[data.place(n) for n in range(lane, 8 * 40, 8)] for lane in range(8)]
    for lane, drawn in enumerate(lanes):
        own = [place for place in pieces(shards) if place[0] % 8 == lane]
        turn, following = drawn[: len(own)], drawn[len(own) : 2 * len(own)]
        assert sorted(turn) == sorted(following) == own
        assert own != turn != following != own
    size = sum(chunk.n_pieces for chunk in shards.chunks[::8])
    assert {data.place(8 * size * turn)[0] for turn in range(12)} == {0, 8}  # either chunk of the lane may come first


@pytest.mark.parametrize("world", [2, 4, 8])
def test_shard_chunks_and_clips_of_ranks_are_disjoint(packed, world):
    data = ShardClips(Shards(str(packed)), 1000, RATE)
    numbers = [list(ResumableSampler(16, 16 + 8 * 30, rank, world)) for rank in range(world)]
    assert sorted(n for own in numbers for n in own) == list(range(16, 16 + 8 * 30))
    chunks = [{data.place(n)[0] for n in own} for own in numbers]
    assert sum(map(len, chunks)) == len(set().union(*chunks)) == 16


def test_shard_chunk_is_finished_before_the_next_of_its_lane(packed):
    data = ShardClips(Shards(str(packed)), 1000, RATE)
    lane = [data.place(n)[0] for n in range(3, 8 * 20, 8)]
    changes = sum(a != b for a, b in itertools.pairwise(lane))
    assert changes <= 20 / min(chunk.n_pieces for chunk in data.shards.chunks) + 1


@pytest.mark.parametrize("n_workers", [0, 2])
def test_shard_loader_resumes_inside_a_turn_whatever_the_workers(packed, n_workers):
    data = ShardClips(Shards(str(packed)), 1500, RATE, seed=3)
    whole = torch.cat(list(clip_loader(data, ResumableSampler(0, 40), 4, 0)))
    rest = torch.cat(list(clip_loader(data, ResumableSampler(12, 40), 4, n_workers)))
    assert torch.equal(rest, whole[12:])


def test_shard_training_resumes_bit_for_bit_and_knows_its_corpus(packed, tmp_path):
    overrides = ["data=shards", f"data.path={packed}", "data.batch_size=2", "data.validation_clips=2"]
    overrides += ["data.n_samples=8192"]
    for name, stops in (("straight", [4]), ("resumed", [2, 4])):
        for stop in stops:
            run(tmp_path / name, *overrides, *steps(stop))
    one, other = states(tmp_path / "straight"), states(tmp_path / "resumed")
    assert equal(one["raw"], other["raw"])
    assert equal(one["ema"], other["ema"])
    info = json.loads((tmp_path / "straight" / "model.json").read_text())["info"]
    assert info["clips"] == 39
    assert 0.15 < info["level"]["rms"] < 0.25


# --- trouble -----------------------------------------------------------------------------------------------------


def copied(packed, target):
    target.mkdir()
    for path in packed.rglob("*"):
        if path.is_file():
            (target / path.relative_to(packed)).parent.mkdir(exist_ok=True)
            (target / path.relative_to(packed)).write_bytes(path.read_bytes())
    return target


def test_shard_piece_that_is_damaged_is_named_and_another_drawn(packed, tmp_path):
    place = copied(packed, tmp_path / "shards")
    chunk = place / "chunk-0-5.bin"
    data = bytearray(chunk.read_bytes())
    begin = int.from_bytes(data[4:8], "little")
    data[begin + 4 : begin + 200] = bytes(196)
    chunk.write_bytes(data)
    clips, again = (ShardClips(Shards(str(place)), 1000, RATE) for _ in range(2))
    first = [clips[n] for n in range(8 * 30)]
    assert {path.name for path in clips.bad.paths} == {"chunk-0-5.bin#0"}
    assert all(torch.equal(again[n], first[n]) for n in reversed(range(5, 8 * 30, 8)))
    chunk.write_bytes(chunk.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"chunk-0-5\.bin.*none of the recordings can be read|cannot be used"):
        [clips[n] for n in range(5, 8 * 30, 8)]
    chunk.unlink()
    with pytest.raises(ValueError, match=r"chunk-0-5\.bin: no such file; pack"):
        [clips[n] for n in range(5, 8 * 30, 8)]


@pytest.mark.parametrize("change", [-1, 1, 100_000])
def test_shard_piece_of_another_size_than_its_place_is_damaged(packed, tmp_path, change):
    place = copied(packed, tmp_path / "shards")
    chunk = place / "chunk-0-0.bin"
    data = bytearray(chunk.read_bytes())
    begin = int.from_bytes(data[4:8], "little")
    size = int.from_bytes(data[begin : begin + 4], "little")
    data[begin : begin + 4] = (size + change).to_bytes(4, "little")
    chunk.write_bytes(data)
    with pytest.raises(ValueError, match=r"chunk-0-0\.bin: damaged at piece 0"):
        Shards(str(place)).read(0, 0)
    assert Shards(str(place)).read(0, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"data_format": ["pickle"], "compression": None}},
        {"config": {"data_format": ["bytes"], "compression": "zstd"}},
        {"chunks": []},
        {"chunks": [{"filename": "../chunk.bin", "chunk_size": 1, "chunk_bytes": 20}]},
        {"chunks": [{"filename": "chunk.bin", "chunk_size": 0, "chunk_bytes": 20}]},
        {"chunks": [{"filename": "chunk.bin"}]},
        {"chunks": 3},
    ],
    ids=str,
)
def test_shards_of_another_kind_are_refused(packed, tmp_path, change):
    index = json.loads((packed / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index | change))
    (tmp_path / "facts.json").write_text("{}")
    with pytest.raises(ValueError, match="an index as `audiodiff shard` writes it"):
        Shards(str(tmp_path))


def test_shards_that_are_not_there_say_how_to_make_them(tmp_path):
    with pytest.raises(ValueError, match=r"no such file; make it by `audiodiff shard"):
        Shards(str(tmp_path))


def test_unreadable_recordings_are_left_out_of_shards_up_to_a_share(folder, tmp_path, caplog):
    training = [*scan_folder(folder)[:20], Recording(tmp_path / "lost.wav", RATE, RATE)]
    facts = pack(training, training[:1], tmp_path / "out", max_bad=0.1)
    assert facts["recordings"] == 20
    assert "lost.wav" in caplog.text
    many = [Recording(tmp_path / f"lost{n}.wav", RATE, RATE) for n in range(4)]
    with pytest.raises(ValueError, match=r"audiodiff scan"):
        pack(training + many, training[:1], tmp_path / "other", max_bad=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # and nothing half-written


# --- from an address ---------------------------------------------------------------------------------------------


@pytest.fixture
def fetched(packed, tmp_path):
    pytest.importorskip("litdata")
    return lambda cache_gb=1.0: Shards(f"local:{packed}", tmp_path / "cache", cache_gb)


def test_shards_from_an_address_are_the_same(packed, fetched):
    near, far = Shards(str(packed)), fetched()
    assert [far.read(*place) for place in pieces(far)] == [near.read(*place) for place in pieces(near)]
    validation = far.validation()
    assert all(
        torch.equal(audio.read(a.path)[0], audio.read(b.path)[0])
        for a, b in zip(validation, near.validation(), strict=True)
    )


def test_shards_from_an_address_keep_what_fits_and_was_used_last(fetched):
    shards = fetched(cache_gb=3.5 * max(chunk.n_bytes for chunk in fetched().chunks) / 1e9)
    kept = shards.place.folder
    for chunk in (0, 1, 2, 0, 3, 4):  # 0 was used again, when 1 has to go
        shards.read(chunk, 0)
        assert sum(path.stat().st_size for path in kept.glob("*.bin")) <= shards.place.cache_bytes
        if chunk == 3:
            assert {path.name for path in kept.glob("*.bin")} == {f"chunk-0-{n}.bin" for n in (0, 2, 3)}
    assert len(list(kept.glob("*.bin"))) == 3


def test_shards_packed_anew_are_not_mixed_with_the_old(packed, tmp_path):
    pytest.importorskip("litdata")
    place = copied(packed, tmp_path / "shards")
    old = Shards(f"local:{place}", tmp_path / "cache")
    old.read(0, 0)
    (place / "chunk-0-0.bin").write_bytes(chunk_of([b"new"]))
    index = json.loads((place / "index.json").read_text())
    index["chunks"][0] |= {"chunk_size": 1, "chunk_bytes": 19}
    (place / "index.json").write_text(json.dumps(index))
    assert Shards(f"local:{place}", tmp_path / "cache").read(0, 0) == b"new"


def test_fetching_is_tried_again_and_then_told(packed, fetched, tmp_path, monkeypatch):
    shards, chunk, pauses = fetched(), packed / "chunk-0-7.bin", []
    hidden = chunk.rename(packed / "hidden")
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: pauses.append(seconds))
    with pytest.raises(ValueError, match=r"local:.*chunk-0-7\.bin: cannot be fetched"):
        ShardClips(shards, 1000, RATE)[[ShardClips(shards, 1000, RATE).place(n)[0] for n in range(2000)].index(7)]
    assert pauses == [1, 2, 4]
    monkeypatch.setattr(storage.time, "sleep", lambda _: hidden.exists() and hidden.rename(chunk))
    assert shards.read(7, 0) == Shards(str(packed)).read(7, 0)


def test_address_without_litdata_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "litdata.streaming.downloader", None)
    with pytest.raises(ValueError, match=r"pip install 'audiodiff-torch\[shards\]'"):
        Shards("s3://bucket/corpus")


# --- the command -------------------------------------------------------------------------------------------------


def test_shard_command_packs_and_tells_how_fast_it_reads(folder, tmp_path, capsys):
    assert main(["shard", str(folder), str(tmp_path / "out"), "--seconds", "0.5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recordings"] == 39
    assert told["chunks"] == 8
    assert told["clips_per_second"] > 1
    assert main(["shard", str(folder), str(tmp_path / "other"), "--valid", str(folder)]) == 0
    assert " clips of 1 s read a second" in capsys.readouterr().out
    assert len(read_manifest(tmp_path / "other" / "valid.jsonl")) == 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{folder}", "{out}"], "exists; give the name of a new folder"),
        (["{folder}", "{out}/no/where"], "cannot be written"),
        (["{folder}", "{out}/new", "--seconds", "0"], "600 s and 4000 MB are the most"),
        (["{folder}", "{out}/new", "--seconds", "nan"], "600 s and 4000 MB are the most"),
        (["{folder}", "{out}/new", "--chunk-mb", "9999"], "600 s and 4000 MB are the most"),
        (["{out}", "{out}/new"], "holds no readable audio"),
        (["{out}/nowhere", "{out}/new"], "no such folder or manifest; give one that holds recordings"),
    ],
)
def test_shard_command_refuses_in_one_line(folder, tmp_path, capsys, arguments, words):
    filled = [argument.format(folder=folder, out=tmp_path) for argument in arguments]
    assert main(["shard", *filled]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_single_recording_trains_and_validates(folder, tmp_path):
    facts = pack(*held_out(scan_folder(folder)[-1:]), tmp_path / "out", seconds=0.5)
    assert facts["recordings"] == 1
    assert ShardClips(Shards(str(tmp_path / "out")), 20000, RATE)[0].shape == (1, 20000)
