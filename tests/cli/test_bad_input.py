"""Bad input gets one line: what was given, what is wanted, the remedy. Status 2; no file comes, goes or changes."""

import os
import shutil
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import tiny_vocoder, voiced
from support.damage import Payload
from support.processes import python

from audiodiff import audio
from audiodiff.cli import main, messages
from audiodiff.mel import LogMel, MelSpec
from audiodiff.models import registry
from audiodiff.utils import devices


@pytest.fixture
def place(tmp_path, speech, tiny_model_path, monkeypatch):
    """A folder to work in, with a recording, a mel, a model, and an output that somebody values."""
    for path in (speech, tiny_model_path, tiny_model_path.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    np.save(tmp_path / "mel.npy", np.full((80, 20), -5.0, dtype=np.float32))
    (tmp_path / "valued.wav").write_bytes(b"do not touch")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.fixture
def refused(place, capsys):
    """Runs a command and checks that it is refused in one line that has all these words, and left no trace."""

    def check(line, *words, status=2):
        command, *rest = line.split()
        model = ["--model", "tiny.safetensors"] if command in ("resynth", "vocode", "mel") else []
        before = contents(place)
        capsys.readouterr()
        with warnings.catch_warnings(record=True) as warned:  # outside pytest they would be further lines
            got = main([command, *rest, *([] if "--model" in rest else model)])
        out, err = capsys.readouterr()
        assert (got, out, warned) == (status, "", [])
        assert err.startswith("audiodiff: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        assert [word for word in words if word not in err] == [], err
        assert contents(place) == before
        return err

    return check


# --- what is typed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("resynth speech.wav new.wav --steps 0", ["--steps: 0: ", "from 1"]),
        ("resynth speech.wav new.wav --steps -3", ["--steps: -3: ", "from 1"]),
        ("resynth speech.wav new.wav --steps two", ["--steps", "two", "--help"]),
        ("resynth speech.wav new.wav --steps 99999999", ["--steps: 99999999: ", "10000"]),
        ("resynth speech.wav new.wav --solver euler", ["'euler'", "ddim", "dpmpp-2m"]),
        ("resynth speech.wav new.wav --start silence", ["'silence'", "noise", "griffin-lim"]),
        ("resynth speech.wav new.wav --seed -1", ["--seed: -1: ", "from 0"]),
        ("resynth speech.wav new.wav --chunk-seconds 0", ["--chunk-seconds: 0: ", "above 0"]),
        ("resynth speech.wav new.wav --chunk-seconds inf", ["--chunk-seconds: inf: ", "above 0"]),
        ("resynth speech.wav new.wav --chunk-seconds nan", ["--chunk-seconds: nan: ", "above 0"]),
        ("resynth speech.wav new.wav --chunk-seconds 1e300", ["--chunk-seconds: 1e300: ", "up to 86400"]),
        ("resynth speech.wav new.wav --device tpu", ["'tpu'", "auto", "cpu"]),
        ("resynth speech.wav new.wav --weights best", ["'best'", "ema", "raw"]),
        ("resynth speech.wav new.wav --weights raw", ["averaged", "--weights raw"]),
        ("resynth speech.wav", ["OUT", "--help"]),
        ("resynth speech.wav new.wav --speed 2", ["--speed", "--help"]),
        ("sing speech.wav new.wav", ["'sing'", "resynth", "--help"]),
    ],
)
def test_wrong_options_are_refused(refused, line, words):
    refused(line, *words)


def test_device_that_is_absent_is_refused(refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused("resynth speech.wav new.wav --device cuda", "cuda", "not present", "take auto or cpu")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("resynth speech.wav valued.wav", ["valued.wav", "-f"]),
        ("mel speech.wav mel.npy", ["mel.npy", "-f"]),
        ("resynth speech.wav nowhere/new.wav", ["nowhere", "does not exist", "create"]),
        ("resynth speech.wav mel.npy nowhere/deeper", ["nowhere", "does not exist", "create"]),
        (f"resynth speech.wav {'a' * 300}.wav", ["aaa.wav", "too long"]),
        ("resynth speech.wav new.mp4", ["new.mp4", ".wav or .flac or .mp3"]),
        ("mel speech.wav new.wav", ["new.wav", ".npy"]),
        ("resynth speech.wav speech.wav -f", ["speech.wav", "input", "another"]),
        ("resynth speech.wav valued.wav valued.wav", ["valued.wav", "is a file", "folder"]),
        ("resynth speech.wav valued.wav new.wav", ["new.wav", "looks like a file", "folder"]),
        ("resynth folder new", ["folder", "none", ".flac"]),
        ("resynth speech.wav /proc/new.wav", ["/proc", "written", "another place"]),
        ("mel speech.wav /proc/new.npy", ["/proc", "written", "another place"]),
        ("resynth speech.wav valued.wav /proc/new", ["/proc/new", "created", "another place"]),
    ],
)
def test_output_that_cannot_be_written_is_refused(refused, line, words):
    refused(line, *words)


def test_folder_without_permission_is_refused_before_any_work(refused, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("folder"))  # root may write anywhere
    for line in ("resynth speech.wav folder/new.wav", "resynth speech.wav valued.wav folder"):
        refused(line, "folder cannot be written", "another place")


def test_sidecar_of_somebody_else_is_not_overwritten(refused, place):
    (place / "new.wav.json").write_text("valued")
    refused("resynth speech.wav new.wav", "new.wav.json", "-f")


def test_two_inputs_of_one_output_are_refused_before_any_work(refused, place):
    shutil.copy("speech.wav", "speech.flac")
    refused("resynth speech.wav speech.flac folder", "speech.wav and speech.flac", "folder/speech.wav", "rename")


# --- recordings --------------------------------------------------------------------------------------------------


def bad_recording(path):
    """Makes the recording that the name announces; what else a file may be, audio/test_io tries."""
    good = Path("speech.wav").read_bytes()
    if path.name == "truncated.wav":
        path.write_bytes(good[: len(good) // 2])
    elif path.name == "text.wav":
        path.write_text("This is no audio. " * 100)
    elif path.name == "nan.wav":
        samples = voiced()[0].numpy().copy()
        samples[1000] = np.nan
        soundfile.write(path, samples, 16000, subtype="FLOAT")
    elif path.name == "short.wav":
        soundfile.write(path, np.zeros(96), 16000)
    elif path.name == "eight.wav":
        soundfile.write(path, np.zeros((8000, 8)), 16000)


BAD_RECORDINGS = {
    "missing.wav": ["no such file", "give"],
    "folder/missing.wav": ["no such file", "give"],
    "truncated.wav": ["ends before", "copy it again"],
    "text.wav": ["cannot be read as audio", "give a WAV"],
    "nan.wav": ["NaN", "repair"],
    "short.wav": ["96 samples", "0.006 s", "257 are needed", "longer"],
    "eight.wav": ["8 channels", "mono and stereo", "mix"],
}


@pytest.mark.parametrize("command", ["resynth", "mel"])
@pytest.mark.parametrize("name", BAD_RECORDINGS)
def test_bad_recording_is_refused(refused, place, name, command):
    bad_recording(place / name)
    refused(f"{command} {name} new.{'wav' if command == 'resynth' else 'npy'}", name, *BAD_RECORDINGS[name])


def test_missing_recording_is_told_before_the_model_is_loaded(refused):
    refused("resynth missing.wav new.wav --model nowhere", "missing.wav")


@pytest.mark.parametrize("name", ["missing.wav", "truncated.wav", "text.wav", "nan.wav"])
def test_bad_recording_is_not_scored(refused, place, name):
    bad_recording(place / name)
    refused(f"score speech.wav {name}", name, *BAD_RECORDINGS[name])
    refused(f"score {name} speech.wav", name, *BAD_RECORDINGS[name])


def test_recording_whose_channels_cancel_is_not_drawn(refused, place):
    audio.write("upside.wav", torch.cat([voiced(), -voiced()]), 16000)
    refused("plot upside.wav new.png", "upside.wav", "channels cancel", "turn one upside down")
    refused("score upside.wav upside.wav --plot new.png", "upside.wav", "channels cancel")


@pytest.mark.parametrize("line", ["scan speech.wav", "calibrate speech.wav", "shard speech.wav new"])
def test_recording_in_place_of_a_folder_is_called_one(refused, line):
    if line.startswith("shard"):
        pytest.importorskip("litdata")  # whose absence is told first
    refused(line, "speech.wav: is a recording", "give the folder that holds it")


def test_recording_at_an_impossible_rate_is_refused(refused, place):
    soundfile.write("slow.wav", voiced()[0].numpy(), 1)
    for line in (
        "resynth slow.wav new.wav",
        "mel slow.wav new.npy",
        "score slow.wav slow.wav",
        "plot slow.wav new.png",
    ):
        refused(line, "slow.wav", "1 Hz", "no sound")


@pytest.mark.parametrize(
    "arguments",
    [
        ["resynth", "", "new"],
        ["resynth", "speech.wav", ""],
        ["scan", ""],
        ["mel", "speech.wav", "n.npy", "--model", ""],
    ],
)
def test_empty_argument_is_refused(place, capsys, arguments):
    """As of a shell's variable that is not set, which would name the working directory, or the default model."""
    before = contents(place)
    assert main(arguments) == 2
    assert f"the argument after {arguments[arguments.index('') - 1]} is empty" in capsys.readouterr().err
    assert contents(place) == before


def test_recordings_that_do_not_belong_together_are_not_scored(refused, place):
    audio.write("long.wav", voiced(2.0), 16000)
    refused("score speech.wav long.wav", "24000", "32000", "same recording")
    audio.write("stereo.wav", voiced().expand(2, -1), 16000)
    refused("score speech.wav stereo.wav", "channels differ, 1 in speech.wav and 2 in stereo.wav", "mix")


# --- mels --------------------------------------------------------------------------------------------------------

GOOD_MEL = np.full((80, 20), -5.0, dtype=np.float32)
BAD_MELS = {
    "too many bands": (
        np.zeros((100, 20), dtype=np.float32),
        ["[100, 20]", "80 bands", "--mel-preset", "vocos-24k-100"],
    ),
    "strange bands": (np.zeros((77, 20), dtype=np.float32), ["[77, 20]", "80 bands", "this model's mel"]),
    "no frames": (GOOD_MEL[:, :0], ["no frames"]),
    "three channels": (np.stack([GOOD_MEL] * 3), ["3 channels", "mono and stereo"]),
    "one axis": (GOOD_MEL[0], ["[20]", "[bands, frames]"]),
    "four axes": (GOOD_MEL[None, None], ["[1, 1, 80, 20]", "[bands, frames]"]),
    "integers": (GOOD_MEL.astype(np.int16), ["int16", "floats"]),
    "complex": (GOOD_MEL.astype(np.complex64), ["complex64", "floats"]),
    "NaN": (np.where(np.arange(20) == 3, np.nan, GOOD_MEL), ["NaN", "floor"]),
    "numbers of no mel": (np.where(np.arange(20) == 3, 1e30, GOOD_MEL), ["louder than any sound", "log-mels"]),
    "infinite": (np.where(np.arange(20) == 3, -np.inf, GOOD_MEL), ["infinite", "floor"]),
}


@pytest.mark.parametrize("name", BAD_MELS)
def test_bad_mel_is_refused(refused, place, name):
    array, words = BAD_MELS[name]
    np.save("bad.npy", array)
    refused("vocode bad.npy new.wav", "bad.npy", *words)


def test_mel_that_memory_cannot_hold_is_refused(refused, place, monkeypatch):
    monkeypatch.setattr(devices, "free_memory", lambda device: 2**28)
    np.save(place / "long.npy", np.full((80, 45_000), -5.0, dtype=np.float32))
    refused("vocode long.npy new.wav", "lasts 0.2 h", "0.4 GiB of memory", "0.2 are free", "pieces")


DAMAGES = ["missing", "empty", "text", "truncated", "npz", "huge", "literal", "null", "objects"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_npy_is_refused(refused, place, damage):
    whole = Path("mel.npy").read_bytes()
    if damage == "npz":
        np.savez("bad", GOOD_MEL)
        os.rename("bad.npz", "bad.npy")
    elif damage != "missing":
        huge = whole.replace(b"(80, 20), }      ", b"(80, 2000000000)}")
        damaged = {
            "empty": b"",
            "text": b"not numpy" * 99,
            "truncated": whole[:-100],
            "huge": huge,
            "literal": whole.replace(b"(80, 20), }", b"(80,       "),
            "null": whole.replace(b"'shape'", b"'sha\0e'"),
            "objects": whole.replace(b"'<f4'", b"'|O' "),
        }[damage]
        assert damaged != whole
        Path("bad.npy").write_bytes(damaged)
    refused("vocode bad.npy new.wav", "bad.npy", ".npy", "no such file" if damage == "missing" else "cannot be read")


# --- models ------------------------------------------------------------------------------------------------------


def test_crafted_pickle_in_a_mel_is_refused_and_its_payload_does_not_run(refused, tmp_path_factory):
    trace = tmp_path_factory.mktemp("payload") / "ran"
    np.save("evil.npy", np.array([Payload(trace)], dtype=object), allow_pickle=True)
    refused("vocode evil.npy new.wav", "evil.npy")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", ["no such model", "shipped name"]),
        ("folder", ["model.safetensors", "last.ckpt"]),
        ("speech.wav", ["no safetensors file", "give a model"]),
    ],
)
def test_model_of_another_kind_is_refused(refused, name, words):
    """In one line, whatever the model's file says; what else it may be, test_checkpoint tries."""
    refused(f"resynth speech.wav new.wav --model {name}", *words)
    refused(f"info {name}", *words)


def test_checkpoint_without_last_weights_has_no_raw(refused, place):
    model = tiny_vocoder()
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"audiodiff": {"config": model.config, "info": {}}, "state_dict": state}, "one.ckpt")
    refused("resynth speech.wav new.wav --model one.ckpt --weights raw", "one.ckpt", "one set", "--weights raw")


# --- the machine -------------------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch):
    """Makes every temporary file behave as on a full disk."""
    fdopen = os.fdopen

    def on_full_disk(handle, mode):
        os.close(handle)
        return fdopen(os.open("/dev/full", os.O_RDWR), mode)

    monkeypatch.setattr(os, "fdopen", on_full_disk)


@pytest.mark.parametrize("line", ["resynth speech.wav new.wav", "vocode mel.npy new.wav", "mel speech.wav new.npy"])
def test_full_disk_leaves_nothing(refused, full_disk, line):
    refused(line, "new.", "No space left", "another place")


def test_full_disk_leaves_the_old_file(refused, full_disk):
    refused("resynth speech.wav valued.wav -f", "valued.wav", "No space left")


def test_full_disk_ends_a_folders_run_at_once(refused, full_disk, place):
    shutil.copy("speech.wav", "second.wav")
    refused("resynth speech.wav second.wav folder", "folder/speech.wav", "No space left")


def test_sound_without_its_sidecar_is_not_left(refused, monkeypatch):
    replace = os.replace

    def only_sidecars(source, target):
        if not str(target).endswith(".json"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", only_sidecars)
    refused("resynth speech.wav new.wav", "new.wav", "No space left")


@pytest.fixture
def interrupt(monkeypatch):
    """Sends Ctrl-C when a finished temporary file is about to be renamed."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    monkeypatch.setattr(os, "replace", lambda *_: signal.raise_signal(signal.SIGINT))
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupt_while_writing_leaves_nothing(refused, interrupt):
    refused("resynth speech.wav valued.wav -f", "interrupted", status=130)


def test_interrupt_ends_a_folders_run(refused, place, interrupt):
    shutil.copy("speech.wav", "second.wav")
    refused("resynth speech.wav second.wav folder", "interrupted", status=130)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: x\ny")])
def test_lack_of_memory_is_told_in_one_line(error, capsys):
    def fail():
        raise error

    assert messages.guarded(fail) == 2
    assert capsys.readouterr().err == "audiodiff: out of memory; give a shorter recording, or --chunk-seconds 10\n"


def test_error_of_several_lines_is_told_in_one(capsys):
    assert messages.guarded(lambda: (_ for _ in ()).throw(ValueError("one\ntwo"))) == 2
    assert capsys.readouterr().err == "audiodiff: one two\n"


def test_errors_of_our_own_keep_their_traceback():
    with pytest.raises(RuntimeError, match="a fault in the program"):
        messages.guarded(lambda: (_ for _ in ()).throw(RuntimeError("a fault in the program")))


def test_the_process_says_one_line_and_returns_2(place):
    bad_recording(place / "truncated.wav")
    before = contents(place)
    done = python("-m", "audiodiff", "resynth", "truncated.wav", "new.wav", "--model", "tiny.safetensors")
    wanted = "audiodiff: truncated.wav: the file ends before the audio that its header announces; copy it again\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", wanted)
    assert contents(place) == before


@pytest.mark.parametrize(("preset", "model"), [("16k-hop256", "speech-16k"), ("hifigan", "speech-22k")])
@pytest.mark.parametrize("declared", [False, True])
def test_mel_of_another_model_is_sent_to_it(refused, preset, model, declared):
    """A mel that the default can neither take nor convert, as the old default's is, names who takes it."""
    spec = MelSpec.preset(preset)
    speech = audio.read(Path(__file__).parents[2] / "demos/audio/speech.flac", spec.sample_rate)[0]
    np.save("mel.npy", LogMel(spec)(speech[None])[0].numpy())
    option = f" --mel-preset {preset}" if declared else ""
    refused(f"vocode mel.npy new.wav --model {registry.DEFAULT_MODEL}{option}", model)


def test_default_model_is_asked_for_by_name(refused, monkeypatch):
    monkeypatch.setattr(registry, "shipped", list)
    refused("info", registry.DEFAULT_MODEL, "no such model")
