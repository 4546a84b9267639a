"""Each convention of conf/mel against its published formula, written out once more in NumPy."""

import numpy as np
import pytest
import torch

from audiodiff import audio
from audiodiff.evaluation.metrics import log_mel_l1
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.detection import presets
from audiodiff.mel.spec import systems
from audiodiff.models.named_starts import named_start
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.resynthesis import resynthesise, vocode
from audiodiff.training.hydra_config import composed, plain
from audiodiff.utils import numba_cache
from audiodiff.utils.config import build, choices, choose, shipped_path

librosa = numba_cache.librosa()


def magnitudes(samples, n_fft, hop, window=None):
    """Frames under a periodic Hann window of n_fft samples, or another; the samples are padded already."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft) if window is None else window
    frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[::hop]
    return np.abs(np.fft.rfft(frames * window, axis=1)).T


def centred(samples, n_fft, hop):
    return magnitudes(np.pad(samples, n_fft // 2, mode="reflect"), n_fft, hop)


def filters(rate, n_fft, bands, low, high, htk=False, norm="slaney"):
    return librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=bands, fmin=low, fmax=high, htk=htk, norm=norm, dtype=np.float64
    )


def htk_filters(rate, n_fft, bands, low, high):
    return filters(rate, n_fft, bands, low, high, htk=True, norm=None)


def of_hifigan(y, rate=22050, bands=80, high=8000, low=0, n_fft=1024, hop=256, eps=1e-9):
    padded = np.pad(y, (n_fft - hop) // 2, mode="reflect")
    spectrum = np.sqrt(magnitudes(padded, n_fft, hop) ** 2 + eps)
    return np.log(np.maximum(filters(rate, n_fft, bands, low, high) @ spectrum, 1e-5))


def of_vocos(y, floor=1e-7):
    return np.log(np.maximum(htk_filters(24000, 1024, 100, 0, 12000) @ centred(y, 1024, 256), floor))


def of_nemo(y):
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1023)  # symmetric
    return np.log(filters(22050, 1024, 80, 0, 8000) @ magnitudes(np.pad(y, 512), 1024, 256, window)[:, :-1] + 1e-5)


def of_espnet_24k(y):
    window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1200) / 1200), 424)  # in the middle of 2048
    padded = np.pad(y, 1024, mode="reflect")
    return np.log10(np.maximum(filters(24000, 2048, 80, 80, 7600) @ magnitudes(padded, 2048, 300, window), 1e-10))


def of_tacotron2(y):
    return np.log(np.maximum(filters(22050, 1024, 80, 0, 8000) @ centred(y, 1024, 256), 1e-5))


def of_parallel_wavegan(y):
    return np.log10(np.maximum(filters(22050, 1024, 80, 80, 7600) @ centred(y, 1024, 256), 1e-10))


def of_diffwave(y):
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    spectrum = centred(y, 1024, 256) / np.sqrt((window**2).sum())
    decibels = 20 * np.log10(np.maximum(htk_filters(22050, 1024, 80, 20, 11025) @ spectrum, 1e-5)) - 20
    return np.clip((decibels + 100) / 100, 0, 1)


def of_rfwave(y):
    return np.log10(np.maximum(htk_filters(24000, 1024, 100, 0, 12000) @ centred(y, 1024, 256), 1e-7))


def of_speecht5(y):
    return np.log10(np.maximum(filters(16000, 1024, 80, 80, 7600) @ centred(y, 1024, 256), 1e-10))


def of_whisper(y):
    power = centred(y, 400, 160)[:, :-1] ** 2
    logs = np.log10(np.maximum(filters(16000, 400, 80, 0, 8000) @ power, 1e-10))
    return (np.maximum(logs, logs.max() - 8) + 4) / 4


FORMULAS = {
    "hifigan": of_hifigan,
    "matcha-normalized": lambda y: (of_hifigan(y) + 5.536622) / 2.116101,
    "bigvgan-24k-100": lambda y: of_hifigan(y, 24000, 100, 12000),
    "vocos-24k-100": of_vocos,
    "f5-tts": lambda y: of_vocos(y, 1e-5),
    "cosyvoice2": lambda y: of_hifigan(y, 24000, 80, 8000, n_fft=1920, hop=480),
    "cosyvoice3": lambda y: of_hifigan(y, 24000, 80, 12000, n_fft=1920, hop=480),
    "diffsinger": lambda y: of_hifigan(y, 44100, 128, 16000, 40, 2048, 512, eps=0),
    "bigvgan-v2-44k": lambda y: of_hifigan(y, 44100, 128, 22050, n_fft=2048, hop=512),
    "bigvgan-v2-22k": lambda y: of_hifigan(y, 22050, 80, 11025),
    "gpt-sovits-v4": lambda y: of_hifigan(y, 32000, 100, 16000, n_fft=1280, hop=320, eps=1e-8),
    "vevo": lambda y: (of_hifigan(y, 24000, 128, 12000, n_fft=1920, hop=480) + 4.92) / np.sqrt(8.14),
    "mmaudio-16k": lambda y: of_hifigan(y, 16000, 80, 8000) / np.log(10),
    "espnet-24k": of_espnet_24k,
    "nemo-fastpitch": of_nemo,
    "tacotron2": of_tacotron2,
    "espnet-pwg": of_parallel_wavegan,
    "diffwave": of_diffwave,
    "rfwave": of_rfwave,
    "speecht5": of_speecht5,
    "whisper": of_whisper,
}


def test_every_preset_has_a_formula():
    assert sorted(FORMULAS) == presets()


def test_every_system_speaks_a_preset_and_is_found_by_name():
    assert set(systems().values()) <= set(presets())
    for name, preset in systems().items():
        assert MelSpec.preset(name) == choose("mel", preset), name
        assert preset == name or name not in presets(), name  # a name leads to one convention


@pytest.fixture(scope="module")
def speech(waveform):
    """Speech with a silence of exact zeros and a stretch far above full scale, so that floor and ceiling are met."""
    samples = waveform[0, :40960].double().numpy().copy()
    samples[9000:13000] = 0
    samples[20000:26000] *= 300
    return samples


@pytest.mark.parametrize("name", FORMULAS)
def test_preset_follows_its_formula_in_double_precision(name, speech):
    wanted = FORMULAS[name](speech)
    found = LogMel(choose("mel", name))(torch.from_numpy(speech)[None, None])[0].numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-4  # most are 1e-12; Slaney's constants differ in librosa's last digits


@pytest.mark.parametrize("name", FORMULAS)
def test_preset_follows_its_formula_in_single_precision_above_the_floor(name, speech):
    wanted = FORMULAS[name](speech)
    found = LogMel(choose("mel", name))(torch.from_numpy(speech)[None, None].float())[0].numpy()
    heard = wanted > wanted.min() + 0.2 * wanted.std()
    assert heard.mean() > 0.1
    assert np.abs(found - wanted)[heard].max() < 1e-3


def test_diffwave_meets_floor_and_ceiling_and_whisper_its_range(speech):
    mel = FORMULAS["diffwave"](speech)
    assert mel.min() == 0
    assert mel.max() == 1
    mel = FORMULAS["whisper"](speech)
    assert mel.max() - mel.min() == pytest.approx(2)  # 8 / 4


def test_spec_is_read_from_what_it_was_written_as():
    import dataclasses
    import json

    spec = MelSpec(24000, n_mels=2, mean=(-1.0, -2.0), std=(1.0, 0.5), ceiling=10.0, f_max=12000.0)
    assert MelSpec.from_dict(json.loads(json.dumps(dataclasses.asdict(spec)))) == spec
    assert spec.fingerprint != MelSpec(24000, n_mels=2, f_max=12000.0).fingerprint
    assert MelSpec(16000).fingerprint == MelSpec(16000).fingerprint


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ([], "JSON object"),
        ({}, "sample_rate"),
        ({"sample_rate": 16000, "fmax": 8000}, "no fmax"),
        ({"sample_rate": "16k"}, "sample_rate is a whole number"),
        ({"sample_rate": True}, "sample_rate is a whole number"),
        ({"sample_rate": 16000, "center": 1}, "center is true or false"),
        ({"sample_rate": 16000, "mean": "x"}, "mean is a number, or a list of numbers"),
        ({"sample_rate": 16000, "mean": []}, "mean and std must be numbers, one or n_mels"),
        ({"sample_rate": 16000, "mean": [1.0, float("nan")]}, "mean is a number, or a list of numbers"),
        ({"sample_rate": 16000, "mean": [1.0, 2.0]}, "n_mels of them"),
        ({"sample_rate": 16000, "std": 0.0}, "std positive"),
        ({"sample_rate": 16000, "ceiling": 1e-9}, "ceiling must be above floor"),
        ({"sample_rate": 16000, "dynamic_range": -1.0}, "dynamic_range must be positive"),
        ({"sample_rate": 16000, "drop_last": True}, "drop_last belongs to center"),
        ({"sample_rate": 16000, "floor": None}, "floor is a number"),
        ({"sample_rate": 16000, "guard": "max"}, "guard must be clamp or add"),
        ({"sample_rate": 16000, "periodic": 1}, "periodic is true or false"),
    ],
)
def test_strange_fields_are_refused(fields, word):
    with pytest.raises(ValueError, match=word):
        MelSpec.from_dict(fields)


@pytest.mark.parametrize("name", choices("mel"))
def test_every_convention_can_be_that_of_a_vocoder(name):
    """Untrained, from the mel's own magnitudes: what comes out has the mel that went in, and the input's length."""
    voice = shipped_path("demos/audio/voices/it-2.flac")
    small = ["model.denoiser.network.width=16", "model.denoiser.network.n_stages=1", "data.path=none"]
    config = plain(composed([f"mel={name}", *small]).model)
    vocoder = build(config)
    waveform, _ = audio.read(voice, vocoder.sample_rate)
    waveform = waveform[:, : vocoder.sample_rate + 17]
    sound = resynthesise(vocoder, waveform, steps=1, start=named_start("mel", vocoder)).waveform
    assert sound.shape == waveform.shape
    # Phases that are mere noise cost 0.08 to 0.19, with hops of 20 ms up to 0.34; silence has 5.
    bound = 0.25 if vocoder.mel.hop_length / vocoder.sample_rate < 0.018 else 0.4
    assert log_mel_l1(waveform[0], sound[0], vocoder.sample_rate) < bound


def test_shipped_model_that_takes_a_mel_as_it_is_is_named(caplog):
    vocoder, mel = Vocoder.load("speech-16k"), torch.full((1, 80, 40), -6.0)
    hint = "the shipped speech-22k takes such a mel as it is"
    for name, hinted in (("matcha", True), ("tacotron2", True), ("speecht5", False)):
        caplog.clear()
        vocode(vocoder, mel, convention=MelSpec.preset(name))
        assert (hint in caplog.text) is hinted, name
