"""Damaged files of every kind that is read: taken, or refused in one line, in time, and without a traceback.

1,000 cases a kind; `python -m pytest -m slow tests/repository/test_fuzz.py --fuzz 10000` draws as many others.
"""

import contextlib
import copy
import io
import json
import signal

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from conftest import TINY, tiny_vocoder, voiced
from hypothesis import HealthCheck, given, settings
from support import generators
from support.damage import damaged, edited, texts

from audiodiff import audio
from audiodiff.cli import info, main
from audiodiff.data import manifest
from audiodiff.data import recordings as chosen
from audiodiff.data.scan import Limits, examine
from audiodiff.data.vectors import read_vector
from audiodiff.mel import MelSpec
from audiodiff.mel import io as mel_io
from audiodiff.models import lora_files
from audiodiff.models.base import Model
from audiodiff.nn.lora import adapt, adapter_state
from audiodiff.pipelines.resynthesis import vocode
from audiodiff.pipelines.sidecar import Sidecar

pytestmark = pytest.mark.slow
SECONDS = 30  # that a case may take on a busy machine
LONGEST = 1000  # characters of a line
MEL = torch.full((80, 6), -5.0)


@pytest.fixture
def fuzz(request):
    """Runs a check on many drawn cases: the same 1,000 each time, or as many others as --fuzz says."""
    count = request.config.getoption("--fuzz")

    def run(strategy, check):
        @settings(
            max_examples=count or 1000,
            derandomize=count is None,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def cases(case):
            with in_time():
                taken_or_refused(check, case)

        cases()

    return run


@contextlib.contextmanager
def in_time():
    """Fails what hangs."""

    def stop(*_):
        raise AssertionError(f"hangs: it takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def taken_or_refused(check, case):
    """The command line makes a line of a ValueError, and a traceback of what else is raised."""
    try:
        check(case)
    except ValueError as error:
        assert str(error).strip()
        assert "\n" not in str(error)
        assert len(str(error)) <= LONGEST


# --- recordings --------------------------------------------------------------------------------------------------

RECORDINGS = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "float.wav": {"format": "WAV", "subtype": "FLOAT"},
    "flac": {"format": "FLAC"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3"},
    "aiff": {"format": "AIFF"},
}


@pytest.mark.parametrize("kind", RECORDINGS)
def test_damaged_recording_is_read_or_refused(tmp_path, fuzz, kind, capfd):
    encoded = io.BytesIO()
    soundfile.write(encoded, voiced(0.3)[0].numpy(), 16000, **RECORDINGS[kind])
    path = tmp_path / f"x.{kind}"

    def check(content):
        path.write_bytes(content)
        examine(path, Limits())
        with audio.opened(path) as file:
            for piece in file.pieces(0.1):
                assert torch.isfinite(piece).all()
        waveform, rate = audio.read(path, 16000)
        assert torch.isfinite(waveform).all()
        assert rate == 16000

    fuzz(damaged(encoded.getvalue()), check)
    assert capfd.readouterr().err == ""  # of a decoder, past Python


# --- mels and vectors --------------------------------------------------------------------------------------------


def npy(array):
    encoded = io.BytesIO()
    np.save(encoded, array)
    return encoded.getvalue()


def pt(content):
    encoded = io.BytesIO()
    torch.save(content, encoded)
    return encoded.getvalue()


MELS = {
    "npy": npy(MEL.numpy()),
    "fortran.npy": npy(np.asfortranarray(MEL.numpy().astype(np.float64))),
    "pt": pt(MEL),
    "named.pt": pt({"mel": MEL, "x": [1]}),
    "safetensors": safetensors.torch.save({"mel": MEL, "other": torch.zeros(3)}),
}


@pytest.mark.parametrize("kind", MELS)
def test_damaged_mel_is_vocoded_or_refused(tmp_path, fuzz, kind):
    path, vocoder = tmp_path / f"x.{kind}", tiny_vocoder()

    def check(content):
        path.write_bytes(content)
        sound = vocode(vocoder, mel_io.read_mel(path, 80), steps=1)
        assert torch.isfinite(sound.waveform).all()

    fuzz(damaged(MELS[kind], 400), check)


def test_damaged_header_of_safetensors_is_read_or_refused(tmp_path, fuzz):
    path, whole = tmp_path / "x.safetensors", MELS["safetensors"]
    size = int.from_bytes(whole[:8], "little")

    def check(header):
        path.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + size :])
        mel_io.read_mel(path, 80)

    fuzz(texts(json.loads(whole[8 : 8 + size])), check)


def test_damaged_vector_is_read_or_refused(tmp_path, fuzz):
    path = tmp_path / "x.npy"

    def check(content):
        path.write_bytes(content)
        read_vector(path)

    fuzz(damaged(npy(np.arange(8.0))), check)


# --- descriptions ------------------------------------------------------------------------------------------------


def test_damaged_note_of_a_mel_is_taken_or_refused(tmp_path, fuzz):
    path = tmp_path / "x.npy"
    mel_io.write_mel(path, MEL[None], MelSpec(16000))
    note = mel_io.note_path(path)

    def check(content):
        note.write_bytes(content)
        mel_io.read_spec(path)

    fuzz(texts(json.loads(note.read_text())), check)


def test_damaged_convention_is_taken_or_refused(tmp_path, fuzz):
    np.save(tmp_path / "x.npy", MEL)

    def check(fields):
        spec = MelSpec.from_dict(fields)
        assert MelSpec.from_dict(spec.to_dict()) == spec

    fuzz(edited(MelSpec(16000).to_dict()), check)


def test_damaged_manifest_is_taken_or_refused(tmp_path, fuzz):
    audio.write(tmp_path / "a.wav", voiced(0.1), 16000)
    lines = [{"path": "a.wav", "n_samples": 1600, "sample_rate": 16000, "label": "x", "speaker": "s"}] * 2
    path = tmp_path / "manifest.jsonl"

    def check(content):
        path.write_bytes(content)
        recordings = manifest.read_manifest(path)
        for waveform in chosen.readable(recordings, 16000):
            assert torch.isfinite(waveform).all()
        chosen.held_out(recordings)

    fuzz(texts(lines).map(lambda text: text.strip(b"[]").replace(b"}, {", b"}\n{")), check)


def test_damaged_sidecar_is_taken_or_refused(tmp_path, tiny_model_path, fuzz, monkeypatch):
    monkeypatch.chdir(tmp_path)
    audio.write("in.wav", voiced(0.2), 16000)
    assert main(["resynth", "in.wav", "out.wav", "--model", str(tiny_model_path), "--device", "cpu"]) == 0
    sidecar = tmp_path / "out.wav.json"

    def check(content):
        sidecar.write_bytes(content)
        note = Sidecar.read(sidecar)
        note.text()
        note.check_input()
        note.load()

    fuzz(texts(json.loads(sidecar.read_text())), check)


# --- models ------------------------------------------------------------------------------------------------------


def sounds(path):
    """Loads a model, shows what it is, and asks it for a sound."""
    model = Model.load(path)
    json.dumps(info.summary_of(str(path)), default=str)
    small = sum(p.numel() for p in model.parameters()) < 10**6 and model.hop_length < 2000
    if small and hasattr(model, "mel"):
        audio.to_pcm(model.generate(torch.full((1, model.mel.n_mels, 4), -5.0), steps=1)[0])  # which refuses NaN
    elif small and model.n_samples < 10**5:
        audio.to_pcm(model.generate(steps=1)[0])


def warm():
    """Makes a vocoder whose description has every kind of part."""
    model = tiny_vocoder()
    start = {"_target_": "audiodiff.models.GriffinLim", "mel": model.config["mel"], "time": 0.25, "n_iter": 2}
    model.config |= {
        "times": [[0.25, 0.1, 0.0]],
        "final_iters": 1,
        "start": start,
        "one_step_start": {**start, "n_iter": 1},
        "solver": {"_target_": "audiodiff.diffusion.solvers.DPMSolver2M"},
    }
    return model


@pytest.mark.parametrize("kind", ["vocoder", "generator"])
def test_damaged_description_of_a_model_is_taken_or_refused(tmp_path, fuzz, kind):
    model, path = warm() if kind == "vocoder" else generators.tiny(), tmp_path / "x.safetensors"
    model.save(path)
    description = tmp_path / "x.json"

    def check(content):
        description.write_bytes(content)
        sounds(path)

    fuzz(texts(json.loads(description.read_text())), check)


def test_damaged_weights_are_taken_or_refused(tmp_path, fuzz):
    path = tmp_path / "x.safetensors"
    tiny_vocoder().save(path, dtype=torch.int8)

    def check(content):
        path.write_bytes(content)
        Model.load(path)

    fuzz(damaged(path.read_bytes(), 4000), check)


def checkpoint():
    """Makes what the trainer writes."""
    model = tiny_vocoder()
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    return {"audiodiff": {"config": copy.deepcopy(TINY), "info": model.info}, "state_dict": state}


def test_damaged_checkpoint_of_the_trainer_is_taken_or_refused(tmp_path, fuzz):
    path, content = tmp_path / "x.ckpt", pt(checkpoint())

    def check(case):
        path.write_bytes(case)
        Model.load(path)

    fuzz(damaged(content, 4000), check)


def test_values_in_a_checkpoint_are_taken_or_refused(tmp_path, fuzz):
    path, whole = tmp_path / "x.ckpt", checkpoint()
    tensors = {name: 0 for name in whole["state_dict"]}

    def check(case):
        content = dict(case) if isinstance(case, dict) else case
        if isinstance(content.get("state_dict"), dict):
            same = {name: whole["state_dict"].get(name) for name, value in content["state_dict"].items() if value == 0}
            content["state_dict"] = {**content["state_dict"], **same}
        torch.save(content, path)
        sounds(path)

    fuzz(edited({**whole, "state_dict": tensors, "current_model_state": tensors}), check)


def test_damaged_adapter_is_taken_or_refused(tmp_path, fuzz):
    path, model, adapted = tmp_path / "x.safetensors", tiny_vocoder(), tiny_vocoder()
    adapt(adapted, ["*inward*"], rank=2)
    safetensors.torch.save_file(adapter_state(adapted.state_dict()), path)

    def check(content):
        path.write_bytes(content)
        lora_files.load(model, path)

    fuzz(damaged(path.read_bytes()), check)
