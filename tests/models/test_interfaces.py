"""The interfaces of other vocoders, against those vocoders: names, shapes, dtypes, lengths."""

import inspect
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from conftest import tiny_vocoder
from support.tree import ROOT

from audiodiff import audio
from audiodiff.mel import LogMel, MelSpec
from audiodiff.models.interfaces import HifiGanInterface, HiFTInterface, VocosInterface

SPEC = MelSpec(16000)


def mel_of(frames, batch=1, spec=SPEC):
    sound = 0.1 * torch.randn(batch, 1, frames * spec.hop_length, generator=torch.Generator().manual_seed(0))
    return LogMel(spec)(sound)[..., :frames]


@pytest.fixture(scope="module")
def vocoder():
    return tiny_vocoder()


@pytest.fixture(scope="module")
def vocos():
    """The package, its feature extractors' two libraries replaced while it is imported: they are not asked here."""
    names = ("torchaudio", "torchaudio.functional", "torchaudio.functional.functional", "encodec")
    stubs = {name: ModuleType(name) for name in names if name not in sys.modules}
    for name, stub in stubs.items():
        stub.transforms, stub.EncodecModel = SimpleNamespace(), None
        stub._hz_to_mel = stub._mel_to_hz = None
        sys.modules[name] = stub
    try:
        package = pytest.importorskip("vocos")
        from vocos.heads import ISTFTHead
        from vocos.models import VocosBackbone
    finally:
        for name in stubs:
            del sys.modules[name]
    return lambda padding: package.Vocos(
        torch.nn.Identity(),
        VocosBackbone(input_channels=80, dim=16, intermediate_dim=32, num_layers=1),
        ISTFTHead(dim=16, n_fft=1024, hop_length=256, padding=padding),
    ).eval()


@pytest.mark.parametrize(("padding", "center"), [("center", True), ("same", False)])
@pytest.mark.parametrize("frames", [2, 40])
def test_decode_has_the_shape_of_vocos(padding, center, frames, vocos, vocoder):
    mel = torch.zeros(2, 80, frames)
    theirs = vocos(padding).decode(mel)
    ours = VocosInterface(vocoder, MelSpec(16000, center=center)).decode(mel)
    assert (ours.shape, ours.dtype, ours.device) == (theirs.shape, theirs.dtype, theirs.device)


def test_decode_has_the_parameters_of_vocos(vocos):
    theirs, ours = (inspect.signature(kind.decode) for kind in (type(vocos("same")), VocosInterface))
    assert list(theirs.parameters)[:2] == list(ours.parameters)[:2] == ["self", "features_input"]


def test_decode_is_generate(vocoder):
    mel = mel_of(30, 2)
    torch.testing.assert_close(VocosInterface(vocoder, seed=3).decode(mel), vocoder.generate(mel, seed=3)[:, 0])


def test_half_precision_mels_are_taken(vocoder):
    mel = mel_of(12).bfloat16()
    sound = VocosInterface(vocoder).decode(mel)
    assert sound.dtype == torch.float32
    torch.testing.assert_close(sound, VocosInterface(vocoder).decode(mel.float()))


def test_one_frame_goes_on_in_silence(vocoder):
    mel = mel_of(2)[..., :1]
    sound = VocosInterface(vocoder).decode(mel)
    floor = torch.full((1, 80, 1), SPEC.floor).log()
    torch.testing.assert_close(sound, vocoder.generate(torch.cat([mel, floor], -1))[:, 0, :256])


def test_mel_without_frames_is_refused(vocoder):
    with pytest.raises(ValueError, match="no frames"):
        VocosInterface(vocoder).decode(torch.zeros(1, 80, 0))


def test_mel_of_other_bands_is_refused(vocoder):
    with pytest.raises(ValueError, match="wants \\[80 bands"):
        VocosInterface(vocoder).decode(torch.zeros(1, 100, 5))


@pytest.mark.parametrize(
    ("mel", "line"),
    [
        (torch.zeros(80, 5), r"\[clips, 80 bands, frames\] is wanted"),
        (torch.zeros(1, 5, 80), "the axes look swapped"),
        (torch.zeros(1, 80, 5, dtype=torch.int64), "holds int64 values"),
        (torch.full((1, 80, 5), torch.nan), "NaN or infinite"),
        (torch.zeros(0, 80, 5), "has no clips"),
        (torch.zeros(1, 80, 5).numpy(), "give a tensor"),
        (None, "give a tensor"),
    ],
)
@pytest.mark.parametrize("kind", [VocosInterface, HiFTInterface, HifiGanInterface])
def test_what_is_no_mel_is_refused_in_one_line(kind, mel, line, vocoder):
    call = {VocosInterface: VocosInterface.decode, HiFTInterface: HiFTInterface.inference}.get(kind, kind.__call__)
    if kind is HifiGanInterface and isinstance(mel, torch.Tensor):
        mel = mel.mT
        line = line if line in ("holds int64 values", "NaN or infinite", "has no clips") else r"\[frames, 80 bands\]"
        mel = mel[None, None] if mel.ndim == 2 else mel
    with pytest.raises((TypeError, ValueError), match=line) as refusal:
        call(kind(vocoder), mel)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", [VocosInterface, HiFTInterface])
def test_model_of_another_rate_than_the_system_plays_is_refused(kind, vocoder):
    with pytest.raises(ValueError, match=r"at 24000 Hz, and this model makes 16000 Hz: .*, such as speech-24k-hop480"):
        kind(vocoder, "cosyvoice2")


def test_rate_that_the_system_asks_for_may_be_another(vocoder):
    assert HifiGanInterface(vocoder, "hifigan").config.sampling_rate == 16000


def test_convention_that_is_none_is_refused(vocoder):
    with pytest.raises(TypeError, match="give a preset's name, or a MelSpec"):
        VocosInterface(vocoder, {"n_mels": 80})


def test_mel_that_no_sound_has_is_refused(vocoder):
    frames = torch.arange(40) % 2  # loud and silent in turns, faster than a frame is long
    with pytest.raises(ValueError, match="no sound has this mel"):
        HifiGanInterface(vocoder, "speecht5")(-20.0 * frames[:, None].expand(-1, 80))


def test_mel_of_another_convention_is_warned_of_once(caplog):
    speech, _ = audio.read(ROOT / "demos/audio/speech.flac", 16000)
    mel = LogMel(SPEC)(speech[None, :, :32000]) / torch.log(torch.tensor(10.0))
    interface = VocosInterface(tiny_vocoder())
    for _ in range(2):
        interface.decode(mel)
    assert [record.message.partition(";")[0] for record in caplog.records] == ["the mel is unlike the model's own"]


def test_other_convention_is_converted(vocoder):
    mel = mel_of(30)
    decibels = MelSpec(16000, log="log10")
    sound = HifiGanInterface(vocoder, decibels)(mel[0].T / torch.log(torch.tensor(10.0)))
    torch.testing.assert_close(sound, vocoder.generate(mel)[0, 0], atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def transformers():
    """The package; told that there is no torchaudio where that does not load, as beside a torch without CUDA."""
    package = pytest.importorskip("transformers")
    with pytest.MonkeyPatch.context() as patch:
        try:
            import torchaudio  # noqa: F401
        except (ImportError, OSError):
            from transformers.utils import import_utils

            asked = import_utils.is_torchaudio_available
            for name, module in list(sys.modules.items()):
                if name.startswith("transformers") and vars(module).get(asked.__name__) is asked:
                    patch.setattr(module, asked.__name__, lambda: False)
        assert package.SpeechT5HifiGan  # imported when it is first asked for
        yield package


@pytest.mark.parametrize("batched", [False, True])
def test_call_has_the_shape_of_hifi_gan(batched, vocoder, transformers):
    config = transformers.SpeechT5HifiGanConfig(upsample_initial_channel=32)
    theirs = transformers.SpeechT5HifiGan(config).eval()
    mel = mel_of(20, 2).mT
    mel = mel if batched else mel[0]
    with torch.no_grad():
        wanted = theirs(mel)
    ours = HifiGanInterface(vocoder)
    assert (ours(mel).shape, ours(mel).dtype) == (wanted.shape, wanted.dtype)
    assert (ours.config.model_in_dim, ours.config.sampling_rate) == (config.model_in_dim, config.sampling_rate)
    assert ours.dtype == theirs.dtype
    assert torch.Size(ours.config.upsample_rates).numel() == torch.Size(config.upsample_rates).numel()


def test_call_without_a_batch_is_that_of_one(vocoder):
    mel, interface = mel_of(20).mT, HifiGanInterface(vocoder)
    torch.testing.assert_close(interface(mel[0]), interface(mel)[0])


def test_inference_gives_sound_and_source(vocoder):
    mel = mel_of(25, 2)
    sound, source = HiFTInterface(vocoder).inference(speech_feat=mel, cache_source=torch.zeros(1, 1, 0))
    assert (sound.shape, source.shape) == ((2, 25 * 256), (2, 1, 25 * 256))
    torch.testing.assert_close(sound, vocoder.generate(mel)[:, 0])


def test_inference_may_be_faded_in_place(vocoder):
    """As Chatterbox does, in inference mode."""
    with torch.inference_mode():
        sound, _ = HiFTInterface(vocoder).inference(speech_feat=mel_of(25), finalize=True)
        sound[:, :960] *= torch.linspace(0, 1, 960)
    assert sound[0, 0] == 0


def test_interface_moves_and_switches_with_its_vocoder(vocoder):
    interface = VocosInterface(vocoder).eval().to("cpu")
    assert isinstance(interface, torch.nn.Module)
    assert (interface.device, interface.training) == (torch.device("cpu"), False)


# --- the guide ---------------------------------------------------------------------------------------------------


def stand_ins(name, sounds):
    """Modules and objects by the names that a snippet uses, which call their vocoder as the system's code does."""
    mel, speech = torch.full((1, 100, 20), -6.0), torch.full((20, 80), -4.0)
    f5 = SimpleNamespace(device="cpu", infer_process=lambda *given: sounds.append(given[-1].decode(mel)))
    zipvoice = SimpleNamespace(get_vocoder=None)
    zipvoice.main = lambda: sounds.append(zipvoice.get_vocoder().decode(mel))
    model = SimpleNamespace(generate_speech=lambda ids, voice, vocoder: sounds.append(vocoder(speech)))
    hosts = SimpleNamespace(hift=None, device="cpu"), SimpleNamespace(mel2wav=None)
    return {
        "F5-TTS": {"utils_infer": f5, **dict.fromkeys(("ref_audio", "ref_text", "text", "model"))},
        "ZipVoice": {"infer_zipvoice": zipvoice},
        "SpeechT5 and diffusers": {"model": model, "inputs": {"input_ids": None}, "speaker_embeddings": None},
        "CosyVoice and Chatterbox": {
            "cosyvoice": SimpleNamespace(model=hosts[0]),
            "tts": SimpleNamespace(s3gen=hosts[1], device="cpu"),
        },
    }[name]


@pytest.mark.parametrize("system", ["F5-TTS", "ZipVoice", "SpeechT5 and diffusers", "CosyVoice and Chatterbox"])
def test_snippet_of_the_guide_runs_as_written(system, monkeypatch):
    section = (ROOT / "demos/docs/pages/guides/hosts.md").read_text(encoding="utf-8").partition(f"\n## {system}\n")[2]
    code = section.partition("```text\n")[2].partition("```")[0]
    names = stand_ins(system, sounds := [])
    for package, module in (("f5_tts.infer", "utils_infer"), ("zipvoice.bin", "infer_zipvoice")):
        for name in (package.partition(".")[0], package):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        setattr(sys.modules[package], module, names.get(module))
    exec(compile(code, system, "exec", dont_inherit=True), names)
    if system.startswith("CosyVoice"):
        speech = torch.full((1, 80, 20), -6.0)
        for vocoder in (names["cosyvoice"].model.hift, names["tts"].s3gen.mel2wav):
            sounds.append(vocoder.inference(speech_feat=speech, cache_source=torch.zeros(1, 1, 0))[0])
    frames = 19 if system in ("F5-TTS", "ZipVoice") else 20  # centred mels have one more
    hop = 480 if system.startswith("CosyVoice") else 256
    assert sounds and all(sound.shape[-1] == frames * hop and bool(sound.isfinite().all()) for sound in sounds)
