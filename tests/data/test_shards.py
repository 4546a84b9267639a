"""Packed corpora: what is in them is what was recorded, and litdata's stream of clips loses and repeats none."""

import contextlib
import json
import signal
import subprocess
from collections import Counter, deque

import numpy as np
import pytest
import soundfile
import torch
from support.processes import started, wait_until

pytest.importorskip("litdata")

from support.training import TINY, TINY_ONE_SHOTS, equal, states, steps

from audiodiff import audio
from audiodiff.cli import main
from audiodiff.data import Augment, Crops, OneShots, Recording, labels_of, scan_folder
from audiodiff.data.recordings import held_out
from audiodiff.data.shards.corpus import Corpus
from audiodiff.data.shards.streaming import ClipStream, StreamLoader
from audiodiff.data.shards.writing import pack, pieces_of, spread
from audiodiff.models.base import Model
from audiodiff.training.hydra_config import composed
from audiodiff.training.run import train

RATE = 8000
COUNTS = {"tom": 20, "kick": 12, "hat": 7, "bell": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty recordings of 0.05 to 0.3 s, all different, in four classes of which one is rare."""
    place = tmp_path_factory.mktemp("recordings")
    for n, label in enumerate(label for label, count in COUNTS.items() for _ in range(count)):
        samples = 0.2 * np.random.default_rng(n).standard_normal(400 + 50 * n).clip(-4, 4)
        (place / label).mkdir(exist_ok=True)
        soundfile.write(place / label / f"{n:02d}.wav", samples, RATE, subtype="PCM_16")
    return place


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    """Those in pieces of at most 0.1 s, without classes, in five chunks."""
    out = tmp_path_factory.mktemp("packed") / "shards"
    bare = [r._replace(label=None) for r in scan_folder(folder)]
    pack(*held_out(bare), out, seconds=0.1, chunk_mb=0.012)
    return out


@pytest.fixture(scope="module")
def labelled(folder, tmp_path_factory):
    """Those whole, with their classes, in five chunks."""
    out = tmp_path_factory.mktemp("packed") / "labelled"
    recordings = scan_folder(folder)
    pack(recordings, recordings[::4], out, chunk_mb=0.012)
    return out


def crops(source, seed=5, augment=None):
    return Crops(source, 600, RATE, seed, augment)


def loader(place, workers=0, view=crops, batch=4, seed=0, cache="cache", at_least=1):
    return StreamLoader(ClipStream(Corpus(str(place), cache), view, seed, at_least), batch, workers, 1000)


def resolve_timesteps(stream, count):
    """Return numbers and clips of the next batches."""
    iterator, numbers, clips = iter(stream), [], []
    for _ in range(count):
        clips += list(next(iterator))
        numbers += stream.numbers[-1]
    return numbers, clips


def samples(data):
    with audio.opened(data, "piece") as file:
        return (file.read()[0] * 32768).short().numpy().tobytes()


def items(place, part="train"):
    corpus = Corpus(str(place))
    data = corpus.open(part)
    return [corpus.item(data, n) for n in range(len(data))]


def written(piece):
    start, stop = piece.start, piece.start + piece.n_samples
    return soundfile.read(piece.recording.path, start=start, stop=stop, dtype="int16")[0].tobytes()


# --- what is in them ---------------------------------------------------------------------------------------------


def test_shards_hold_every_sample_of_every_recording_once(folder, packed):
    training, held = held_out(scan_folder(folder))
    wanted = sorted(written(piece) for piece in pieces_of(training, 0.1))
    assert sorted(map(samples, items(packed))) == wanted
    corpus = Corpus(str(packed))
    assert len(corpus) == len(wanted)
    assert corpus.facts["recordings"] == len(training)
    assert corpus.facts["hours"] * 3600 * RATE == pytest.approx(sum(r.n_samples for r in training))
    assert [r.n_samples for r in corpus.validation()] == [r.n_samples for r in held]
    assert len(list((packed / "train").glob("*.bin"))) == 5


def test_spread_puts_every_class_into_every_stretch():
    pieces = pieces_of([Recording(f"{n}", 1, 1, "rare" if n == 3 else "often") for n in range(70)], 10)
    order = [piece.label for piece in spread(pieces, 7)]
    assert Counter(order) == {"often": 69, "rare": 14}
    assert all("rare" in order[n : n + 13] for n in range(0, len(order) - 12))
    assert order != [piece.label for piece in spread(pieces, 7, seed=1)]


def test_shard_piece_has_the_class_of_its_recording(folder, labelled):
    corpus = Corpus(str(labelled))
    known = {written(piece): piece.label for piece in pieces_of(scan_folder(folder), 10)}
    labels = [corpus.facts["labels"][number] for number in corpus.numbers]
    assert labels == [known[samples(item)] for item in items(labelled)]
    assert set(labels) == set(COUNTS)
    assert corpus.facts["labels"] == labels_of(scan_folder(folder))
    assert [r.label for r in corpus.validation()] == [r.label for r in scan_folder(folder)[::4]]


def test_manifest_that_is_stale_packs_what_the_files_hold(folder, tmp_path):
    recordings = scan_folder(folder)
    stale = [r._replace(n_samples=r.n_samples // 3, sample_rate=3 * RATE) for r in recordings]
    pack(stale, stale[:1], tmp_path / "out")
    wanted = sorted(written(piece) for piece in pieces_of(recordings, 10))
    assert sorted({samples(item) for item in items(tmp_path / "out")}) == wanted


# --- the stream --------------------------------------------------------------------------------------------------


def test_shard_clip_is_a_function_of_seed_and_number(packed):
    """Whatever the workers; and as long as a clip, though pieces are shorter."""

    def view(source, seed=5):
        return crops(source, seed, Augment([0.8, 1.25], [-6, 0], mix=0.5))

    numbers, clips = resolve_timesteps(loader(packed, 0, view), 30)
    known = dict(zip(numbers, clips, strict=True))
    assert all(clip.shape == (1, 600) for clip in clips)
    others, again = resolve_timesteps(loader(packed, 2, view, batch=3), 40)
    assert len(known.keys() & others) > 60
    assert all(torch.equal(known[n], clip) for n, clip in zip(others, again, strict=True) if n in known)
    _, other = resolve_timesteps(loader(packed, 0, lambda source: view(source, 6)), 1)
    assert not any(torch.equal(a, b) for a, b in zip(clips, other, strict=False))


def test_shard_pieces_each_begin_one_clip_a_pass(packed):
    """In another order each, chunk by chunk."""
    stream = loader(packed, batch=1)
    n, chunks = len(stream.stream.corpus), []
    numbers, _ = resolve_timesteps(stream, 2 * n)
    first, second = numbers[:n], [number - n for number in numbers[n:]]
    assert sorted(first) == sorted(second) == list(range(n))
    assert first != sorted(first)
    assert first != second
    for number in first:
        if (chunk := stream.stream.chunk_of(number)) not in chunks[-1:]:
            chunks.append(chunk)
    assert len(chunks) == len(set(chunks)) == 5


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_are_dealt_out_without_overlap(packed, workers, monkeypatch):
    """Three ranks of two workers see as many batches, no piece twice, and all but a batch of each at most."""
    seen = []
    for rank in range(3):
        monkeypatch.setenv("WORLD_SIZE", "3")
        monkeypatch.setenv("GLOBAL_RANK", str(rank))
        stream = loader(packed, workers)
        seen += resolve_timesteps(stream, len(stream.loader))[0]
    assert len(seen) == len(set(seen)) == stream.stream.length // 12 * 12
    assert max(seen) < stream.stream.length


@pytest.mark.parametrize(("workers", "yielded"), [(0, 7), (2, 7), (2, 20), (2, 25)])
def test_shard_stream_resumes_exactly_within_a_pass(packed, workers, yielded):
    """Also at its end, after 20 batches, and in the next, and twice; the state is plain text."""
    stream, resumed = loader(packed, workers), loader(packed, workers)
    straight, again = iter(stream), iter(resumed)
    for _ in range(yielded):
        next(straight)
    for _ in range(2):
        state = (stream if resumed.numbers == deque() else resumed).state_dict()
        resumed = loader(packed, workers)
        resumed.load_state_dict(json.loads(json.dumps(state)))
        again = iter(resumed)
        assert torch.equal(next(straight), next(again))
    for _ in range(18):
        assert torch.equal(next(straight), next(again))
        assert stream.numbers == resumed.numbers


def test_shard_stream_interrupted_within_a_step_resumes_before_it(packed):
    """Steps of two batches: after three of them and one more batch the state is that after three."""
    made = [0]
    stream = StreamLoader(ClipStream(Corpus(str(packed)), crops), 4, 0, 1000, per_step=2, steps=lambda: made[0])
    batches, seen = iter(stream), []
    for n in range(7):
        next(batches)
        seen.append(stream.numbers[-1])
        made[0] = (n + 1) // 2
    resumed = loader(packed)
    resumed.load_state_dict(stream.state_dict())
    next(iter(resumed))
    assert resumed.numbers[-1] == seen[6]


def test_shard_stream_resumes_with_other_workers_and_repeats_nothing(packed):
    stream = loader(packed, 2)
    before, _ = resolve_timesteps(stream, 8)
    resumed = loader(packed, 1)
    resumed.load_state_dict(stream.state_dict())
    after, _ = resolve_timesteps(resumed, 12)
    assert len(set(before) | set(after)) == len(before) + len(after) == 80


def test_shard_one_shots_are_those_of_the_files_and_classes_are_equally_often(folder, labelled):
    recordings, names = scan_folder(folder), ["kick", "bell", "tom", "hat"]
    plain = {OneShots([r], [r.label], 1000, RATE)[0][0].numpy().tobytes(): r.label for r in recordings}
    stream = loader(labelled, view=lambda source: OneShots(source, names, 1000, RATE), batch=16)
    drawn, batches = Counter(), iter(stream)
    for _ in range(75):
        clips, labels = next(batches)
        for clip, label in zip(clips, labels, strict=True):
            assert plain[clip.numpy().tobytes()] == names[label]
            drawn[names[label]] += 1
    assert set(drawn) == set(COUNTS)
    assert max(drawn.values()) - min(drawn.values()) < 5 * (1200 * 0.25 * 0.75) ** 0.5  # five deviations


def test_corpus_smaller_than_a_batch_is_repeated(folder, tmp_path):
    assert pack(*held_out(scan_folder(folder)[-1:]), tmp_path / "out")["recordings"] == 1
    batch = next(iter(loader(tmp_path / "out", batch=8, at_least=8)))
    assert batch.shape == (8, 1, 600)
    assert not torch.equal(batch[0], batch[1])


@pytest.mark.parametrize("kind", ["shards", "labelled-shards"])
def test_training_on_shards_resumes_bit_for_bit(packed, labelled, tmp_path, kind):
    """And knows its corpus, with the classes in order."""
    if kind == "shards":
        overrides = [*TINY, "data=shards", f"data.path={packed}", "data.batch_size=2", "data.n_samples=8192"]
    else:
        overrides = [*TINY_ONE_SHOTS, "data=labelled-shards", f"data.path={labelled}"]
    for name, stops in (("straight", [4]), ("resumed", [2, 4])):
        for stop in stops:
            settings = [f"run_dir={tmp_path / name}", *steps(stop), f"data.cache={tmp_path}", "data.validation_clips=2"]
            train(composed([*overrides, *settings]))
    one, other = states(tmp_path / "straight"), states(tmp_path / "resumed")
    assert equal(one["raw"], other["raw"])
    assert equal(one["ema"], other["ema"])
    model = Model.load(tmp_path / "straight")
    assert model.info["clips"] == (39 if kind == "shards" else 40)
    assert 0.15 < model.info["level"]["rms"] < 0.25
    assert getattr(model, "labels", sorted(COUNTS)) == sorted(COUNTS)


def test_recipe_of_classes_composes_with_labelled_shards():
    data = composed(["experiment=drums", "data=labelled-shards", "data.path=shards"]).data
    assert (data.shards, data.one_shots, data.manifest, data.n_samples) == (True, True, None, 32768)


# --- trouble -----------------------------------------------------------------------------------------------------


def copied(packed, target):
    for path in packed.rglob("*.*"):
        (target / path.relative_to(packed)).parent.mkdir(exist_ok=True, parents=True)
        (target / path.relative_to(packed)).write_bytes(path.read_bytes())
    return target


def test_shard_piece_that_is_damaged_is_named_and_another_drawn(packed, tmp_path):
    place = copied(packed, tmp_path / "shards")
    chunk = place / "train" / "chunk-0-2.bin"
    data = bytearray(chunk.read_bytes())
    begin, end = int.from_bytes(data[4:8], "little"), int.from_bytes(data[8:12], "little")
    data[begin + 4 : end] = bytes(end - begin - 4)
    chunk.write_bytes(data)
    stream = loader(place)
    assert all(clip.shape == (1, 600) for clip in resolve_timesteps(stream, 20)[1])
    assert {path.name for path in stream.stream.view.bad.paths} == {"chunk-0-2.bin#0"}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kept", [None, 60, 0.7], ids=str)
def test_shard_that_is_cut_off_or_missing_is_told_in_a_line(packed, tmp_path, kept, workers):
    place = copied(packed, tmp_path / "shards")
    chunk = place / "train" / "chunk-0-2.bin"
    data = chunk.read_bytes()
    chunk.unlink() if kept is None else chunk.write_bytes(data[: kept if kept > 1 else int(kept * len(data))])
    with pytest.raises(ValueError, match=r"chunk-0-2\.bin: has \d+ of \d+ bytes; copy the corpus again"):
        resolve_timesteps(loader(place, workers), 21)


@pytest.mark.parametrize("change", [{"data_format": ["pickle"]}, {"data_spec": "[1, {}]"}, {"compression": "zstd"}])
def test_shards_that_litdata_would_unpickle_are_refused(packed, tmp_path, change):
    place = copied(packed, tmp_path / "shards")
    for part in ("about", "train"):
        index = json.loads((place / part / "index.json").read_text())
        index["config"] |= change
        (place / part / "index.json").write_text(json.dumps(index))
        with pytest.raises(ValueError, match="holds other items than bytes; give what `audiodiff shard` made"):
            loader(place)
        copied(packed, place)


def test_shards_that_are_not_there_say_how_to_make_them(tmp_path):
    for address in (tmp_path / "none", f"local:{tmp_path}/none"):
        with pytest.raises(ValueError, match=r"none/about: cannot be read .*; make it by `audiodiff shard`"):
            Corpus(str(address), tmp_path / "cache")


def test_unreadable_recordings_are_left_out_of_shards_up_to_a_share(folder, tmp_path, caplog):
    training = [*scan_folder(folder)[:20], Recording(tmp_path / "lost.wav", RATE, RATE)]
    assert pack(training, training[:1], tmp_path / "out", max_bad=0.1)["recordings"] == 20
    assert "lost.wav" in caplog.text
    many = [Recording(tmp_path / f"lost{n}.wav", RATE, RATE) for n in range(4)]
    with pytest.raises(ValueError, match=r"audiodiff scan"):
        pack(training + many, training[:1], tmp_path / "other", max_bad=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # and nothing half-written


def test_onsets_that_were_cut_short_are_refused(packed):
    with pytest.raises(ValueError, match=r"cut after at most 0\.1 s, clips are 0\.2 s long; pack again"):
        Corpus(str(packed)).check_onsets(1600, RATE)


# --- from an address ---------------------------------------------------------------------------------------------


def size_of(folder):
    """Add up the chunks in a folder from which a thread of the loader deletes meanwhile."""
    total = 0
    for path in folder.rglob("*.bin"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def test_shards_from_an_address_are_the_same_and_stay_within_their_room(packed, tmp_path):
    near, far = loader(packed), loader(f"local:{packed}", cache=tmp_path / "cache")
    far.stream.max_cache_size = 50_000  # bytes, of 110,000
    here, there = ([r.n_samples for r in stream.stream.corpus.validation()] for stream in (near, far))
    assert here == there
    batches, again = iter(near), iter(far)
    for _ in range(50):
        assert torch.equal(next(batches), next(again))
        assert size_of(tmp_path / "cache" / "train") < 90_000  # two chunks may be fetched ahead


def test_shards_packed_anew_are_not_mixed_with_the_old(folder, packed, tmp_path):
    place = copied(packed, tmp_path / "shards")
    resolve_timesteps(loader(f"local:{place}", cache=tmp_path / "cache"), 2)
    other = [r for r in scan_folder(folder) if r.label == "tom"]
    pack(other, other[:1], tmp_path / "new", seconds=0.1)
    for part in ("about", "train", "valid"):
        for path in (place / part).iterdir():
            path.unlink()
    copied(tmp_path / "new", place)
    assert len(Corpus(f"local:{place}", tmp_path / "cache")) == len(pieces_of(other, 0.1))
    resolve_timesteps(loader(f"local:{place}", cache=tmp_path / "cache", batch=1), 5)


def test_corpus_without_a_readable_piece_is_refused(tmp_path):
    """An empty data set of litdata would be waited for, for ever."""
    tone = 0.3 * torch.sin(torch.arange(4000) / 9)
    audio.write(tmp_path / "upside.wav", torch.stack([tone, -tone]), RATE)
    audio.write(tmp_path / "valid.wav", tone[None], RATE)
    upside, valid = (Recording(tmp_path / f"{name}.wav", 4000, RATE) for name in ("upside", "valid"))
    with pytest.raises(ValueError, match="none of the recordings for training can be packed"):
        pack([upside], [valid], tmp_path / "out", max_bad=1.0)
    assert not (tmp_path / "out").exists()


# --- the command -------------------------------------------------------------------------------------------------


def test_shard_command_packs_and_tells_how_fast_it_reads(folder, tmp_path, capsys):
    assert main(["shard", str(folder), str(tmp_path / "out"), "--seconds", "0.5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["recordings"] == 39
    assert facts["chunks"] == 1
    assert facts["clips_per_second"] > 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{folder}", "{out}"], "exists; give the name of a new folder"),
        (["{folder}", "{out}/no/where"], "cannot be written"),
        (["{folder}", "{out}/new", "--seconds", "0"], "0: a number above 0 and up to 600"),
        (["{folder}", "{out}/new", "--chunk-mb", "9999"], "9999: a number above 0 and up to 2000"),
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


@pytest.mark.parametrize(
    ("number", "status"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_shard_command_that_is_stopped_leaves_nothing(tmp_path, number, status):
    (tmp_path / "in").mkdir()
    noise = 0.2 * np.random.default_rng(0).standard_normal(10 * 48000)
    for n in range(100):
        soundfile.write(tmp_path / "in" / f"{n}.wav", noise, 48000, subtype="PCM_16")
    run = started("-m", "audiodiff", "shard", tmp_path / "in", tmp_path / "out", stderr=subprocess.PIPE)
    wait_until(lambda: any(tmp_path.glob(".out.*/train")), run)
    run.send_signal(number)
    _, error = run.communicate(timeout=60)
    assert run.returncode == status
    assert error.splitlines()[-1] == "audiodiff: interrupted; what was not finished is not written"
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
