"""Files for hosts: names, shapes, noise and lengths of each contract, and the real sherpa-onnx."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from conftest import tiny_vocoder, voiced
from support.export import tiny_generator
from support.processes import python

from audiodiff import export
from audiodiff.cli import main
from audiodiff.diffusion.noise import NoiseField
from audiodiff.export import host_names, hosts
from audiodiff.mel import LogMel, MelSpec
from audiodiff.models.vocoder import Vocoder

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

PITCHED = MelSpec(44100, 2048, 2048, 512, n_mels=128, f_min=40, f_max=16000)
SPECS = {
    "sherpa-onnx, hifigan": ("sherpa-onnx", MelSpec(16000)),
    "sherpa-onnx, vocos": ("sherpa-onnx", MelSpec.preset("vocos-24k-100")),
    "openutau": ("openutau", PITCHED),
}


def as_vocoder(spec):
    """What a host asks of a vocoder."""
    return SimpleNamespace(mel=spec, hop_length=spec.hop_length, sample_rate=spec.sample_rate, info={"name": "some"})


def formula(spec):
    """A graph in the place of a sampler: waveform = noise + sum of the frame's bands / 1000."""
    graph = f"""<ir_version: 8, opset_import: ["" : 18]>
    formula (float[b, {spec.n_mels}, f] vocoder_mel, float[b, 1, n] vocoder_noise) => (float[b, 1, n] vocoder_waveform)
    {{
        bands = Constant <value_ints = [1]> ()
        sums = ReduceSum <keepdims = 1> (vocoder_mel, bands)
        last = Constant <value_ints = [3]> ()
        columns = Unsqueeze (sums, last)
        hop = Constant <value_ints = [1, 1, 1, {spec.hop_length}]> ()
        wide = Tile (columns, hop)
        flat = Constant <value_ints = [0, 1, -1]> ()
        rows = Reshape (wide, flat)
        thousandth = Constant <value_float = 0.001> ()
        level = Mul (rows, thousandth)
        vocoder_waveform = Add (level, vocoder_noise)
    }}"""
    return onnx.parser.parse_model(graph)


def embedded(name, spec, seed=0):
    host, vocoder = host_names.host_named(name), as_vocoder(spec)
    host.check(vocoder)
    model = hosts.embed(formula(spec), host, vocoder, seed)
    onnx.checker.check_model(model, full_check=True)
    return host, vocoder, model


def mel_of(spec, frames):
    return torch.randn(1, spec.n_mels, frames, generator=torch.Generator().manual_seed(frames))


def repeated_noise(spec, frames, seed=0):
    """The noise of `generate` for the first twelve seconds, over and over."""
    period = int(np.ceil(12 * spec.sample_rate / spec.hop_length)) * spec.hop_length
    once = NoiseField([seed]).draw(torch.empty(1, 1, period))[0, 0]
    return once.repeat(-(-frames * spec.hop_length // period))[: frames * spec.hop_length]


# --- what lies before and after the sampler ----------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 2, 61, 2000])
@pytest.mark.parametrize("kind", SPECS)
def test_host_hears_the_sampler_frame_for_frame(kind, frames):
    name, spec = SPECS[kind]
    host, vocoder, model = embedded(name, spec, seed=5)
    session, mel = onnxruntime.InferenceSession(model.SerializeToString()), mel_of(spec, frames)
    sound = host.listen(session.run(None, host.feed(mel)), vocoder)
    wanted = mel.sum(1)[0].repeat_interleave(spec.hop_length) / 1000 + repeated_noise(spec, frames, 5)
    torch.testing.assert_close(sound, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["sherpa-onnx, hifigan", "openutau"])
def test_mel_without_frames_is_no_samples(kind):
    name, spec = SPECS[kind]
    host, vocoder, model = embedded(name, spec)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert host.listen(session.run(None, host.feed(torch.zeros(1, spec.n_mels, 0))), vocoder).shape == (0,)


def ports(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return [
        [(port.name, port.type, port.shape) for port in side] for side in (session.get_inputs(), session.get_outputs())
    ]


def test_openutau_finds_the_names_and_shapes_of_its_exporter():
    """`deployment/exporters/nsf_hifigan_exporter.py` of openvpi/DiffSinger."""
    inputs, outputs = ports(embedded("openutau", PITCHED)[2])
    assert inputs == [("mel", "tensor(float)", [1, "n_frames", 128]), ("f0", "tensor(float)", [1, "n_frames"])]
    assert outputs == [("waveform", "tensor(float)", [1, "n_samples"])]


def test_openutau_finds_its_vocoder_yaml():
    told = yaml.safe_load(host_names.host_named("openutau").companions(as_vocoder(PITCHED), "x.onnx")["vocoder.yaml"])
    assert told == {
        "name": "some",
        "model": "x.onnx",
        "sample_rate": 44100,
        "hop_size": 512,
        "win_size": 2048,
        "fft_size": 2048,
        "num_mel_bins": 128,
        "mel_fmin": 40,
        "mel_fmax": 16000,
        "mel_base": "e",
        "mel_scale": "slaney",
        "pitch_controllable": False,
        "force_on_cpu": False,
    }


@pytest.mark.parametrize("kind", ["sherpa-onnx, hifigan", "sherpa-onnx, vocos"])
def test_sherpa_onnx_finds_what_its_loader_reads(kind):
    _, spec = SPECS[kind]
    model = embedded("sherpa-onnx", spec)[2]
    told = {prop.key: prop.value for prop in model.metadata_props}
    assert told["model_type"] == kind.split()[1]
    assert int(told["sample_rate"]) == spec.sample_rate
    (inputs, outputs), frames = ports(model), "frames"
    assert inputs == [("mel", "tensor(float)", [1, spec.n_mels, frames])]
    assert len(outputs) == (1 if kind.endswith("hifigan") else 3)


# --- the real sherpa-onnx ----------------------------------------------------------------------------------------

SPEAK = """
import sys
import numpy, sherpa_onnx
acoustic, vocoder, lexicon, tokens, text, out = sys.argv[1:]
matcha = sherpa_onnx.OfflineTtsMatchaModelConfig(acoustic, vocoder, lexicon, tokens)
config = sherpa_onnx.OfflineTtsConfig(model=sherpa_onnx.OfflineTtsModelConfig(matcha=matcha, num_threads=1))
assert config.validate()
how = sherpa_onnx.GenerationConfig()
how.silence_scale = 1.0  # else pauses are cut
audio = sherpa_onnx.OfflineTts(config).generate(text, how)
numpy.save(out, numpy.array([audio.sample_rate, *audio.samples]))
"""


def acoustic_model(spec, mel, folder):
    """A model of the Matcha type: token i + 1 has the i-th tenth of a recorded mel, token 0, of a pause, nothing."""
    blocks = mel[0].unflatten(-1, (-1, max(1, mel.shape[-1] // 10))).transpose(0, 1)
    graph = f"""<ir_version: 8, opset_import: ["" : 18]>
    matcha (int64[1, length] x, int64[1] x_length, float[1] noise_scale, float[1] length_scale)
        => (float[1, {spec.n_mels}, frames] mel)
    {{
        first = Constant <value_ints = [0]> ()
        pause = Constant <value_int = 0> ()
        tokens = Squeeze (x, first)
        sounds = Greater (tokens, pause)
        spoken = Compress (tokens, sounds)
        one = Constant <value_int = 1> ()
        numbers = Sub (spoken, one)
        found = Gather <axis = 0> (blocks, numbers)
        turned = Transpose <perm = [1, 0, 2]> (found)
        shape = Constant <value_ints = [1, {spec.n_mels}, -1]> ()
        mel = Reshape (turned, shape)
    }}"""
    model = onnx.parser.parse_model(graph)
    model.graph.initializer.append(onnx.numpy_helper.from_array(blocks.contiguous().numpy(), "blocks"))
    known = {"model_type": "matcha-tts", "language": "none", "voice": "none", "sample_rate": str(spec.sample_rate)}
    numbers = {"n_speakers": 1, "jieba": 1, "has_espeak": 0, "use_eos_bos": 0, "pad_id": 0, "version": 1}
    onnx.helper.set_model_props(model, known | {key: str(value) for key, value in numbers.items()})
    onnx.save(model, folder / "acoustic.onnx")
    names = ["pause", *(f"token{n}" for n in range(len(blocks)))]
    (folder / "tokens.txt").write_text("".join(f"{name} {n}\n" for n, name in enumerate(names)))
    words = [f"word{chr(ord('a') + n)}" for n in range(len(blocks))]
    (folder / "lexicon.txt").write_text("".join(f"{word} token{n}\n" for n, word in enumerate(words)))
    return " ".join(words)


def spoken(spec, mel, vocoder_path, folder):
    """What sherpa-onnx makes of a mel, in a process of its own: its runtime is not ours, and it may end the process."""
    pytest.importorskip("sherpa_onnx")
    text = acoustic_model(spec, mel, folder)
    files = [str(folder / name) for name in ("acoustic.onnx", "lexicon.txt", "tokens.txt")]
    words = [files[0], str(vocoder_path), *files[1:], text, str(folder / "out.npy")]
    done = python("-c", SPEAK, *words)
    assert done.returncode == 0, done.stderr
    rate, *samples = np.load(folder / "out.npy").tolist()
    assert rate == spec.sample_rate
    return torch.tensor(samples)


@pytest.mark.parametrize("kind", ["sherpa-onnx, hifigan", "sherpa-onnx, vocos"])
def test_sherpa_onnx_speaks_through_a_file_of_this_contract(kind, tmp_path):
    _, spec = SPECS[kind]
    onnx.save(embedded("sherpa-onnx", spec)[2], tmp_path / "vocoder.onnx")
    mel = mel_of(spec, 50)
    sound = spoken(spec, mel, tmp_path / "vocoder.onnx", tmp_path)
    wanted = mel.sum(1)[0].repeat_interleave(spec.hop_length) / 1000 + repeated_noise(spec, 50)
    torch.testing.assert_close(sound, wanted, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A tiny vocoder that starts from noise, saved, and exported for sherpa-onnx by the command."""
    vocoder = tiny_vocoder()
    vocoder.config |= {"projection_iters": 0, "final_iters": 1}
    path = tmp_path_factory.mktemp("host") / "tiny.safetensors"
    vocoder.save(path)
    out = path.with_name("vocoder.onnx")
    assert main(["export", str(path), str(out), "--host", "sherpa-onnx", "--steps", "2", "--seed", "7"]) == 0
    return path, out


@pytest.mark.parametrize("frames", [1, 60, 1880])
def test_sherpa_onnx_makes_the_sound_of_the_library(frames, plain, tmp_path, monkeypatch):
    """One frame, one second, thirty seconds; the file's noise begins anew after twelve."""
    path, out = plain
    vocoder, spec = Vocoder.load(path), MelSpec(16000)
    sound = voiced().repeat(1, -(-frames * 256 // 24000))[None]
    mel = LogMel(spec)(sound)[..., :frames].contiguous()
    heard = spoken(spec, mel, out, tmp_path)
    noise = repeated_noise(spec, max(frames, 2), 7)
    monkeypatch.setattr(NoiseField, "draw", lambda self, like: noise[None, None, : like.shape[-1]])
    longer = torch.cat([mel, torch.full((1, 80, max(0, 2 - frames)), 1e-5).log()], -1)
    wanted = vocoder.generate(longer, steps=2, chunk_frames=None if frames < 1000 else 4000)[0, 0, : frames * 256]
    assert wanted.abs().max() > 0.01
    torch.testing.assert_close(heard, wanted, atol=1e-4, rtol=0)


def test_exported_file_keeps_its_description_and_the_hosts(plain):
    told = onnxruntime.InferenceSession(plain[1]).get_modelmeta().custom_metadata_map
    assert (told["model_type"], told["noise_seed"], told["licence"]) == ("hifigan", "7", "CC0-1.0")
    assert json.loads(told["sample_rate"]) == 16000
    assert MelSpec.from_dict(json.loads(told["mel"])) == MelSpec(16000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["speech-16k", "speech-22k"])
def test_shipped_vocoder_sounds_the_same_through_sherpa_onnx(name, tmp_path):
    out = tmp_path / "vocoder.onnx"
    assert main(["export", name, str(out), "--host", "sherpa-onnx"]) == 0
    vocoder = Vocoder.load(name)
    frames = round(vocoder.sample_rate / vocoder.hop_length / 10) * 10
    sound = voiced(sample_rate=vocoder.sample_rate)[None]
    mel = vocoder.spectrogram(sound)[..., :frames].contiguous()
    heard = spoken(vocoder.mel, mel, out, tmp_path)
    torch.testing.assert_close(heard, vocoder.generate(mel)[0, 0], atol=1e-3, rtol=0)


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "spec", "line"),
    [
        ("sherpa-onnx", MelSpec(16000, n_mels=40), "80 bands (Matcha) or 100 (ZipVoice), and this model has 40"),
        ("openutau", MelSpec(16000, center=True), "no mels with center=True"),
        ("openutau", MelSpec(16000, power=2.0, norm="none"), "no mels with norm=none, power=2.0"),
        ("openutau", MelSpec(16000, guard="add"), "no mels with guard=add"),
    ],
)
def test_model_that_a_host_cannot_take_is_refused(host, spec, line):
    with pytest.raises(ValueError) as refusal:
        host_names.host_named(host).check(as_vocoder(spec))
    assert line in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--host", "sherpa"], "no such host: sherpa (did you mean sherpa-onnx?)"),
        (["--host", "openutau", "--opset", "20"], "openutau takes up to 19"),
        (["--opset", "99"], "99: a whole number from 18 to 22"),
        (["--host", "sherpa-onnx", "--part", "step"], "leave --part out"),
        (["--host", "openutau"], "vocoder.yaml: exists; give -f"),
    ],
)
def test_request_that_cannot_be_met_is_refused_in_one_line(arguments, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = tmp_path / "tiny.safetensors"
    tiny_vocoder().save(tiny)
    Path("vocoder.yaml").write_bytes(b"mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr(export.writing, "_converted", lambda *_: pytest.fail("refused too late"))
    assert main(["export", str(tiny), "out.onnx", *arguments]) == 2
    shown = capsys.readouterr().err
    assert line in shown
    assert shown.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert Path("vocoder.yaml").read_bytes() == b"mine"


def test_generator_has_no_host(tmp_path):
    with pytest.raises(ValueError, match="runs vocoders as a whole"):
        export.export(tiny_generator(), tmp_path / "out.onnx", host="openutau")
    assert not list(tmp_path.iterdir())
