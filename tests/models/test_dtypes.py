"""Types of numbers other than float32: of what is given, of the weights, and of what the program has set as default."""

import pytest
import torch
from conftest import tiny_vocoder, voiced
from support import generators

import audiodiff
from audiodiff import audio
from audiodiff.data.scan import fingerprint
from audiodiff.evaluation import metrics
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel import io as mel_io
from audiodiff.mel.detection import diagnose_mel, rank_conventions
from audiodiff.mel.statistics import MelStatistics
from audiodiff.models.base import Model
from audiodiff.models.interfaces import VocosInterface
from audiodiff.models.starts import Variation
from audiodiff.pipelines import restoration
from audiodiff.utils.config import choices, choose

pytestmark = pytest.mark.filterwarnings("error:Converting a tensor with requires_grad")
SPEC, HIFIGAN = MelSpec(16000), MelSpec.preset("hifigan")
WAVEFORM = voiced(0.8)
MEL = LogMel(SPEC)(WAVEFORM[None])
ROUGH = {torch.float16: 0.01, torch.bfloat16: 0.1}  # relative: the mel itself is rounded
CHAOTIC = {"live", "start real-time"}  # phases of later frames follow from those of earlier ones


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    tiny_vocoder().save(place / "vocoder")
    generators.tiny().save(place / "generator")
    return place


@pytest.fixture
def default():
    """Sets the type of new tensors, and sets it back."""
    yield torch.set_default_dtype
    torch.set_default_dtype(torch.float32)


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def doors(folder, convert=lambda tensor: tensor):
    """Public functions, by name, of a recording and its mel in some type."""
    vocoder, generator = Model.load(folder / "vocoder.safetensors"), Model.load(folder / "generator.safetensors")
    waveform, mel = convert(WAVEFORM), convert(MEL)
    whole = 512 * (waveform.shape[-1] // 512)
    return {
        "resample": lambda: audio.resample(waveform, 16000, 24000),
        "mono": lambda: audio.io.mono(waveform.expand(2, -1)),
        "lowered": lambda: audio.io.lowered(4 * waveform)[0],
        "pcm": lambda: torch.from_numpy(audio.to_pcm(waveform)[0]),
        "write": lambda: torch.tensor(audio.write(folder / "a.wav", waveform, 16000)),
        "mel": lambda: LogMel(SPEC)(waveform[None]),
        "statistics": lambda: MelStatistics.measure([waveform], SPEC).frame_mean,
        "oriented": lambda: mel_io.oriented(mel[0], 80),
        "converted": lambda: audiodiff.convert_mel(mel, SPEC, HIFIGAN),
        "rank": lambda: number([candidate.odds for candidate in rank_conventions(mel[0], SPEC)]),
        "diagnosis": lambda: torch.tensor(diagnose_mel(mel[0], SPEC, SPEC) is None),
        "fingerprint": lambda: fingerprint(waveform[0], 16000),
        "limit": lambda: number(restoration.find_limit(waveform.clamp(-0.05, 0.05))),
        "vocode": lambda: audiodiff.vocode(vocoder, mel).waveform,
        "resynthesise": lambda: audiodiff.resynthesise(vocoder, waveform).waveform,
        "generate": lambda: vocoder.generate(mel),
        "chunks": lambda: vocoder.generate(mel, chunk_frames=20),
        "stream": lambda: torch.cat(list(vocoder.stream([mel])), -1),
        "live": lambda: torch.cat(list(vocoder.stream([mel], live=True)), -1),
        "interface": lambda: VocosInterface(vocoder).decode(mel),
        "generator": lambda: generator.generate(500),
        "variation": lambda: generator.generate(whole, start=Variation(waveform[None, :, :whole], 0.5)),
        **{
            f"start {n}": lambda n=n: vocoder.generate(mel, start=choose("start", n, mel=SPEC))
            for n in choices("start")
        },
        **{f"solver {n}": lambda n=n: vocoder.generate(mel, solver=choose("solver", n)) for n in choices("solver")},
        **{
            name: lambda name=name: number(getattr(metrics, name)(waveform[0], waveform[0].roll(50), 16000))
            for name in ("log_mel_l1", "log_spectral_distance_db", "mel_cepstral_distortion_db")
        },
    }


@pytest.fixture(scope="module")
def expected(folder):
    return {name: door().detach() for name, door in doors(folder).items()}


def distance(one, other):
    """Relative difference of two results, of the same shape."""
    assert one.shape == other.shape
    one, other = one.detach().double(), other.double()
    return float((one - other).norm() / other.norm().clamp(min=1e-9))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_default_type_of_the_program_changes_no_sound(folder, expected, default, dtype):
    default(dtype)
    for name, door in doors(folder).items():
        result = door()
        assert distance(result, expected[name]) < 1e-5, name
        assert result.dtype == expected[name].dtype, name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_any_floating_type_are_taken(folder, expected, dtype):
    for name, door in doors(folder, lambda tensor: tensor.to(dtype)).items():
        result = door()
        assert torch.isfinite(result).all(), name
        if name not in CHAOTIC | {"rank"}:
            assert distance(result, expected[name]) < ROUGH.get(dtype, 1e-4), name


def test_tensors_that_require_gradients_are_taken(folder, expected):
    for name, door in doors(folder, lambda tensor: tensor.clone().requires_grad_()).items():
        assert distance(door(), expected[name]) < 1e-5, name


CASTS = {
    "half": lambda model: model.half(),
    "bfloat16": lambda model: model.bfloat16(),
    "double": lambda model: model.double(),
    "to": lambda model: model.to(torch.float16),
    "of what holds it": lambda model: torch.nn.ModuleList([model]).half()[0],
}


@pytest.mark.parametrize("cast", CASTS)
def test_model_that_is_cast_sounds_as_before_and_says_so(folder, expected, cast, caplog):
    vocoder = CASTS[cast](Model.load(folder / "vocoder.safetensors"))
    assert {parameter.dtype for parameter in vocoder.parameters()} == {torch.float32}
    assert "the weights stay in float32" in caplog.text
    assert torch.equal(vocoder.generate(MEL), expected["generate"])


def test_model_is_still_moved_and_shared(folder, caplog):
    vocoder = Model.load(folder / "vocoder.safetensors")
    assert vocoder.to("cpu").float().share_memory().device.type == "cpu"
    assert vocoder.to("meta").device.type == "meta"
    assert caplog.text == ""


def test_parts_that_were_cast_are_refused_in_one_line(folder):
    vocoder, generator = Model.load(folder / "vocoder.safetensors"), Model.load(folder / "generator.safetensors")
    mel = torch.full((1, 80, 8), -5.0)
    vocoder.denoiser.half()
    generator.denoiser.network.double()
    for sound in (lambda: vocoder.generate(mel), lambda: list(vocoder.stream([mel])), lambda: generator.generate(500)):
        with pytest.raises(ValueError, match=r"the weights are in torch\.float(16|64), and float32 is wanted"):
            sound()
    vocoder.denoiser.float()
    assert torch.isfinite(vocoder.generate(mel)).all()


@pytest.mark.parametrize("steps", ["2", 1.5, 0, 10_001])
def test_steps_that_are_no_count_are_refused_by_name(steps):
    vocoder = tiny_vocoder(1)
    with pytest.raises(ValueError, match=r"steps=.*a whole number from 1 to 10000 is wanted"):
        vocoder.generate(vocoder.spectrogram(torch.zeros(1, 1, 4000)), steps=steps)
