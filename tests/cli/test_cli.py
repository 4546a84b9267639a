"""The command line: what each command writes, prints and returns."""

import inspect
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from conftest import tiny_vocoder, voiced
from support.processes import environment, python, started

import audiodiff
from audiodiff import audio
from audiodiff.cli import COMMANDS, main
from audiodiff.cli.info import summary_of
from audiodiff.evaluation import metrics
from audiodiff.models import registry
from audiodiff.models.starts import Start, Variation
from audiodiff.models.summary import summarise
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.resynthesis import resynthesise
from audiodiff.utils import devices
from audiodiff.utils.config import choices, kind_of

LINE = re.compile(
    r"(\d+ files, )?[\d.]+ s of audio in [\d.]+ s, [\d.]+ × real time, peak memory \d+ MiB, "
    r"\d+( to \d+)? network calls per channel\n"
)


@pytest.fixture
def cli(tiny_model_path, capsys):
    """Runs a command with the tiny model; returns status, standard output, standard error."""

    def run(command, *arguments):
        model = ["--model", str(tiny_model_path)] if command in ("resynth", "vocode", "mel") else []
        capsys.readouterr()
        status = main([command, *map(str, arguments), *([] if "--model" in arguments else model)])
        return status, *capsys.readouterr()

    return run


def recording(path, seconds=0.5, sample_rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    tones = [voiced(seconds, sample_rate, pitch=100 + 30 * i, seed=i) for i in range(channels)]
    audio.write(path, 0.3 * torch.cat(tones), sample_rate)  # random weights may make it much louder
    return path


# --- help --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_that_ends_in_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: audiodiff {command} ")
    assert f"  audiodiff {command} " in shown.partition("example:\n")[2]


def test_help_names_every_command_solver_start_device_and_the_default_model(capsys):
    main(["--help"])
    shown = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", shown, re.MULTILINE) for name in COMMANDS)
    main(["resynth", "--help"])
    shown = capsys.readouterr().out
    shown = shown.replace("-\n" + " " * 24, "-")  # names that argparse broke at a hyphen
    assert [
        n for n in (*choices("solver"), *choices("start"), *devices.CHOICES, registry.DEFAULT_MODEL) if n not in shown
    ] == []


def test_every_start_of_the_library_has_a_name():
    kinds = [*Start.__subclasses__()]
    for kind in kinds:
        kinds += kind.__subclasses__()
    ours = {kind for kind in kinds if kind.__module__.startswith("audiodiff.")}
    assert ours - {Variation} == {
        kind_of("start", name) for name in choices("start")
    }  # a Variation is of a recording, not of a name


def test_help_loads_neither_torch_nor_anything_heavy():
    code = (
        "import sys; from audiodiff.cli import COMMANDS, main\n"
        "assert [main([*c, '--help']) for c in ([], *([name] for name in COMMANDS))] == [0] * (len(COMMANDS) + 1)\n"
        "heavy = {'torch', 'numpy', 'lightning', 'hydra', 'librosa', 'gradio', 'soundfile', 'tqdm'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = python("-c", code, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"audiodiff {audiodiff.__version__}\n"


def test_public_names_are_those_that_the_package_can_import():
    assert [name for name in audiodiff.__all__ if not hasattr(audiodiff, name)] == []
    for room in (audiodiff.audio, audiodiff.mel, audiodiff.models, audiodiff.diffusion, audiodiff.data):
        assert [name for name in room.__all__ if inspect.ismodule(getattr(room, name))] == []
        assert dir(room) == sorted(room.__all__)


# --- resynth -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample_rate", "seconds", "channels"),
    [(16000, 0.5, 1), (16000, 0.51237, 2), (8000, 0.40013, 1), (22050, 0.5, 1), (44100, 0.49991, 2), (48000, 0.3, 1)],
)
def test_resynth_keeps_length_and_channels_at_the_models_rate(cli, tmp_path, sample_rate, seconds, channels):
    source = recording(tmp_path / "in.wav", seconds, sample_rate, channels)
    status, out, err = cli("resynth", source, tmp_path / "out.wav")
    made, rate = soundfile.read(tmp_path / "out.wav", always_2d=True)
    given = soundfile.info(source).frames
    assert (status, out, rate) == (0, "", 16000)
    assert made.shape == (round(given * 16000 / sample_rate), channels)
    assert LINE.fullmatch(err), err


def test_resynth_equals_the_library_sample_for_sample(cli, tmp_path, speech, tiny_model_path):
    vocoder = Vocoder.load(tiny_model_path)
    assert cli("resynth", speech, tmp_path / "out.wav", "--seed", 7)[0] == 0
    expected = resynthesise(vocoder, audio.read(speech)[0], seed=7).waveform  # every default is the library's own
    made, _ = soundfile.read(tmp_path / "out.wav", dtype="int16", always_2d=True)
    assert np.array_equal(made, audio.to_pcm(expected)[0])


def test_each_sampling_option_changes_the_sound_and_the_seed_decides_it(cli, tmp_path, speech):
    def made(name, *options):
        assert cli("resynth", speech, tmp_path / f"{name}.wav", *options)[0] == 0
        return (tmp_path / f"{name}.wav").read_bytes()

    default = made("default")
    assert made("again", "--seed", "0") == default
    variants = {
        "seed": made("seed", "--seed", "1"),
        "steps": made("steps", "--steps", "3"),
        "solver": made("solver", "--solver", "dpmpp-2m", "--steps", "3"),
        "start": made("start", "--start", "griffin-lim"),
    }
    assert len({default, *variants.values()}) == 5


def test_steps_count_solver_steps_and_network_calls_are_reported(cli, tmp_path, speech):
    _, out, err = cli("resynth", speech, tmp_path / "out.wav", "--steps", 5, "--json")
    assert json.loads(out)["network_calls"] == 5
    assert " 5 network calls" in err


def test_chunks_call_the_network_more_often_and_change_nothing_audible(cli, tmp_path, speech):
    cli("resynth", speech, tmp_path / "whole.wav")
    _, out, _ = cli("resynth", speech, tmp_path / "chunks.wav", "--chunk-seconds", "0.4", "--json")
    whole, chunks = (soundfile.read(tmp_path / f"{n}.wav", dtype="int16")[0].astype(int) for n in ("whole", "chunks"))
    assert json.loads(out)["network_calls"] > 2  # 1.5 s in pieces, at 2 steps
    assert abs(whole - chunks).max() <= 1  # of 32767: the order of sums


def test_json_is_one_object_that_agrees_with_the_file(cli, tmp_path, speech):
    status, out, err = cli("resynth", speech, tmp_path / "out.wav", "--json")
    told = json.loads(out)
    assert status == 0
    assert LINE.fullmatch(err)
    assert (told["input"], told["output"]) == (str(speech), str(tmp_path / "out.wav"))
    assert told["seconds"] == soundfile.info(tmp_path / "out.wav").duration
    assert told["times_real_time"] == pytest.approx(told["seconds"] / told["elapsed_seconds"])
    assert told["peak_memory_mib"] > 50  # torch alone takes more
    assert told["clipped_samples"] == 0


# --- models ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_folder(tmp_path):
    """A run's folder with a trainer's checkpoint, whose averaged and last weights differ."""
    average, last = tiny_vocoder(seed=0), tiny_vocoder(seed=1)
    weights = [{f"model.{name}": tensor for name, tensor in m.state_dict().items()} for m in (average, last)]
    header = {"config": average.config, "info": average.info}
    (tmp_path / "run").mkdir()
    checkpoint = {"audiodiff": header, "state_dict": weights[0], "current_model_state": weights[1]}
    torch.save(checkpoint, tmp_path / "run" / "last.ckpt")
    average.save(tmp_path / "both.safetensors", raw=last.state_dict())
    return tmp_path / "run"


def test_model_may_be_a_file_a_run_folder_or_a_checkpoint_with_both_weights(cli, tmp_path, speech, run_folder):
    def made(name, *options):
        assert cli("resynth", speech, tmp_path / f"{name}.wav", *options)[0] == 0
        return (tmp_path / f"{name}.wav").read_bytes()

    averaged, checkpoint = made("file"), run_folder / "last.ckpt"
    assert made("folder", "--model", run_folder) == averaged
    assert made("checkpoint", "--model", checkpoint) == averaged
    last = made("raw", "--model", checkpoint, "--weights", "raw")
    assert last != averaged
    assert made("both", "--model", tmp_path / "both.safetensors", "--weights", "raw") == last


@pytest.fixture
def shipped(tiny_model_path, monkeypatch):
    """Lets the tiny model be the one that ships."""
    monkeypatch.setattr(registry, "_weights", lambda: tiny_model_path.parent)
    monkeypatch.setattr(registry, "DEFAULT_MODEL", "tiny")


def test_shipped_model_is_the_default_and_is_remembered_by_name(shipped, speech, tmp_path):
    assert main(["resynth", str(speech), str(tmp_path / "out.wav")]) == 0
    assert json.loads((tmp_path / "out.wav.json").read_text())["model"] == "tiny"


def test_info_lists_shipped_models_and_shows_the_default(shipped, capsys):
    assert main(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["shipped"], told["default"], told["name"]) == (["tiny"], "tiny", "tiny")


def test_info_tells_licence_data_mel_and_size(cli, tiny_model_path):
    status, out, err = cli("info", tiny_model_path, "--json")
    told, vocoder = json.loads(out), tiny_vocoder()
    assert (status, err) == (0, "")
    assert {name: told[name] for name in vocoder.info} == vocoder.info
    assert told["mel"]["n_mels"] == vocoder.mel.n_mels
    assert told["parameters"] == sum(p.numel() for p in vocoder.parameters())
    assert told["hash"] == vocoder.fingerprint()
    table = cli("info", tiny_model_path)[1]
    assert table.startswith("A vocoder: makes sound at 16 kHz of log-mels of 80 bands of the convention 16k-hop256")
    assert re.search(r"^licence +CC0-1.0$", table, re.MULTILINE)
    assert re.search(r"^mel +sample_rate 16000, n_fft 1024, ", table, re.MULTILINE)


@pytest.mark.parametrize("name", registry.shipped())
def test_shipped_weights_tell_their_licence_data_level_and_mel(name, capsys):
    assert main(["info", name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["name"] == name
    assert {"licence", "data", "hours", "steps", "level", "mel"} <= told.keys()
    assert not {"unknown", "unspecified", "", None} & {told["licence"], told["data"]}
    assert told["level"].keys() == {"rms", "peak"}
    assert told["purpose"].startswith("A vocoder: makes sound at" if told["mel"] else "A generator: makes new sounds")
    read, loaded = summarise(name), summary_of(name)  # without torch, and with it
    for start in ("start", "one_step_start"):  # of which the files say what is no default
        said = read["sampling"][start] or {}
        assert said.items() <= (loaded["sampling"].pop(start) or {}).items()
        del read["sampling"][start]
    assert read == loaded


# --- vocode, mel, score ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
def test_mel_then_vocode_is_resynth_before_the_cut_to_length(cli, tmp_path, channels):
    source = recording(tmp_path / "in.wav", 0.51, channels=channels)
    assert cli("mel", source, tmp_path / "mel.npy")[0] == 0
    assert cli("vocode", tmp_path / "mel.npy", tmp_path / "vocoded.wav")[0] == 0
    assert cli("resynth", source, tmp_path / "out.wav")[0] == 0
    (vocoded, _), (out, _) = (soundfile.read(tmp_path / name, dtype="int16") for name in ("vocoded.wav", "out.wav"))
    frames = np.load(tmp_path / "mel.npy").shape[-1]
    assert len(vocoded) == frames * 256
    assert len(out) == int(0.51 * 16000)
    assert np.array_equal(vocoded[: len(out)], out)


def test_mel_writes_float32_bands_by_frames_of_the_models_mel(cli, tmp_path, speech, tiny_model_path):
    status, out, err = cli("mel", speech, tmp_path / "mel.npy")
    mel = np.load(tmp_path / "mel.npy")
    assert (status, out) == (0, "")
    assert LINE.fullmatch(err)
    assert (mel.dtype, mel.shape) == (np.float32, (80, 94))  # 24000 samples are 93.75 hops of 256
    waveform = torch.nn.functional.pad(audio.read(speech)[0], (0, 94 * 256 - 24000))
    expected = Vocoder.load(tiny_model_path).spectrogram(waveform[None])[0].numpy()
    assert np.array_equal(mel, expected)


def test_mel_of_a_recording_at_another_rate_is_that_of_the_resampled_one(cli, tmp_path):
    high = recording(tmp_path / "high.wav", 0.5, 48000)
    soundfile.write(tmp_path / "low.wav", audio.read(high, 16000)[0].T.numpy(), 16000, subtype="FLOAT")
    mels = [tmp_path / "high.npy", tmp_path / "low.npy"]
    for mel in mels:
        assert cli("mel", mel.with_suffix(".wav"), mel)[0] == 0
    assert np.array_equal(*map(np.load, mels))


@pytest.mark.parametrize("convert", [lambda m: m[None], lambda m: m.astype(np.float64), np.asfortranarray])
def test_vocode_takes_a_leading_axis_and_any_float(cli, tmp_path, speech, convert):
    cli("mel", speech, tmp_path / "mel.npy")
    np.save(tmp_path / "other.npy", convert(np.load(tmp_path / "mel.npy")))
    for name in ("mel", "other"):
        assert cli("vocode", tmp_path / f"{name}.npy", tmp_path / f"{name}.wav")[0] == 0
    assert (tmp_path / "mel.wav").read_bytes() == (tmp_path / "other.wav").read_bytes()


@pytest.mark.usefixtures("quick_measures")
def test_score_of_a_file_with_itself_is_perfect_and_of_another_is_not(cli, tmp_path, speech):
    status, out, err = cli("score", speech, speech, "--json")
    same = json.loads(out)
    assert (status, err) == (0, "")
    assert (same["log_mel_l1"], same["lsd_db"], same["sample_rate"]) == (0, 0, 16000)
    cli("resynth", speech, tmp_path / "out.wav")
    other = json.loads(cli("score", speech, tmp_path / "out.wav", "--json")[1])
    assert other["lsd_db"] > 1
    lines = cli("score", speech, tmp_path / "out.wav")[1].splitlines()
    table = dict(line.split()[:2] for line in lines)
    assert all(line.endswith(metrics.UNITS[line.split()[0]]) for line in lines)
    assert float(table["lsd_db"]) == pytest.approx(other["lsd_db"], abs=5e-4)  # three decimals


@pytest.mark.usefixtures("quick_measures")
def test_score_compares_at_the_lower_rate_and_says_so(cli, tmp_path):
    high, low = recording(tmp_path / "high.wav", 0.5, 48000, 2), tmp_path / "low.wav"
    waveform, _ = audio.read(high, 16000)
    audio.write(low, waveform, 16000)
    for pair in ((high, low), (low, high)):
        status, out, err = cli("score", *pair, "--json")
        told = json.loads(out)
        assert (status, told["sample_rate"]) == (0, 16000)
        assert "compared at 16000 Hz" in err
        assert told["lsd_db"] < 0.5  # what rounding to 16 bits leaves


# --- several inputs ----------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A folder with two recordings at different depths, something hidden, and something else."""
    recording(tmp_path / "in" / "top.wav")
    recording(tmp_path / "in" / "a" / "b.WAV")
    recording(tmp_path / "in" / ".hidden" / "c.wav")
    (tmp_path / "in" / "notes.txt").write_text("no audio")
    return tmp_path / "in"


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_mirrored(cli, tmp_path, tree):
    status, out, err = cli("resynth", tree, tmp_path / "out", "--json")
    assert status == 0
    assert listing(tmp_path / "out") == ["a/b.wav", "a/b.wav.json", "top.wav", "top.wav.json"]
    assert [told["output"] for told in json.loads(out)] == [str(tmp_path / "out" / n) for n in ("a/b.wav", "top.wav")]
    assert LINE.fullmatch(err)  # and no progress bar, since this is no terminal
    assert err.startswith("2 files, 1.00 s of audio")


def test_mel_and_vocode_mirror_folders_too(cli, tmp_path, tree):
    assert cli("mel", tree, tmp_path / "mels")[0] == 0
    assert listing(tmp_path / "mels") == ["a/b.npy", "a/b.npy.json", "top.npy", "top.npy.json"]
    assert cli("vocode", tmp_path / "mels", tmp_path / "out")[0] == 0
    assert listing(tmp_path / "out") == ["a/b.wav", "a/b.wav.json", "top.wav", "top.wav.json"]


def test_several_files_go_into_a_folder_wherever_the_options_stand(cli, tmp_path):
    sources = [recording(tmp_path / name) for name in ("x.wav", "y.wav")]
    assert cli("resynth", *sources, "--steps", 1, tmp_path / "out")[0] == 0
    assert listing(tmp_path / "out") == ["x.wav", "x.wav.json", "y.wav", "y.wav.json"]


def test_a_file_that_is_given_twice_is_done_once(cli, tmp_path, speech):
    assert len(json.loads(cli("resynth", speech, speech, tmp_path / "out", "--json")[1])) == 1


def test_one_file_may_go_into_an_existing_folder(cli, tmp_path, speech):
    (tmp_path / "out").mkdir()
    assert cli("resynth", speech, tmp_path / "out")[0] == 0
    assert listing(tmp_path / "out") == ["speech.wav", "speech.wav.json"]


def test_what_an_earlier_run_left_inside_the_input_is_no_input(cli, tmp_path, tree):
    assert cli("resynth", tree, tree / "made")[0] == 0
    assert cli("resynth", tree, tree / "made", "-f")[0] == 0
    assert listing(tree / "made") == ["a/b.wav", "a/b.wav.json", "top.wav", "top.wav.json"]


def test_existing_folder_needs_no_force_and_existing_files_do(cli, tmp_path, tree):
    (tmp_path / "out").mkdir()
    assert cli("resynth", tree, tmp_path / "out")[0] == 0
    before = (tmp_path / "out" / "top.wav").read_bytes()
    status, _, err = cli("resynth", tree, tmp_path / "out", "--seed", 1)
    assert (status, err.count("\n")) == (2, 1)
    assert "-f" in err
    assert (tmp_path / "out" / "top.wav").read_bytes() == before
    assert cli("resynth", tree, tmp_path / "out", "--seed", 1, "-f")[0] == 0
    assert (tmp_path / "out" / "top.wav").read_bytes() != before


def test_a_folder_with_bad_files_finishes_the_others_lists_the_bad_and_returns_1(cli, tmp_path, tree):
    (tree / "a" / "broken.wav").write_bytes(b"")
    (tree / "text.wav").write_text("no audio")
    status, out, err = cli("resynth", tree, tmp_path / "out", "--json")
    assert status == 1
    assert listing(tmp_path / "out") == ["a/b.wav", "a/b.wav.json", "top.wav", "top.wav.json"]
    lines = err.splitlines()
    assert lines[0].startswith(f"audiodiff: {tree}/a/broken.wav: ")
    assert lines[1].startswith(f"audiodiff: {tree}/text.wav: ")
    assert lines[2] == "audiodiff: 2 of 4 files failed"
    assert LINE.fullmatch(lines[3] + "\n")
    assert ["error" in told for told in json.loads(out)] == [False, True, True, False]


@pytest.mark.parametrize(("terminal", "bar"), [(True, True), (False, False)])
def test_progress_shows_on_a_terminal_only(cli, tmp_path, tree, monkeypatch, terminal, bar):
    class Screen(io.StringIO):
        def isatty(self):
            return terminal

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    assert cli("mel", tree, tmp_path / "out")[0] == 0
    assert ("2/2" in screen.getvalue()) is bar


# --- the process -------------------------------------------------------------------------------------------------


def test_python_m_audiodiff_is_the_command(tmp_path, speech, tiny_model_path):
    command = ["-m", "audiodiff", "resynth", speech, tmp_path / "out.wav", "--model", tiny_model_path]
    done = python(*command)
    assert (done.returncode, done.stdout) == (0, "")
    assert LINE.fullmatch(done.stderr)
    again = python(*command)
    assert again.returncode == 2
    assert again.stderr == f"audiodiff: {tmp_path}/out.wav and 1 more: exists; give -f to overwrite, or another name\n"


def test_a_reader_that_leaves_is_no_error():
    read, write = os.pipe()
    os.close(read)
    buffered = {name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"}
    process = started("-m", "audiodiff", "--help", stdout=write, stderr=subprocess.PIPE, env=buffered)
    os.close(write)
    assert (process.communicate(timeout=60)[1], process.returncode) == ("", 141)


def test_a_reader_that_leaves_while_something_is_printed_is_no_error(cli, tiny_model_path, monkeypatch):
    class Left(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Left())
    status, _, err = cli("info", tiny_model_path)
    assert (status, err) == (141, "")


def test_plot_draws_what_sounds_have_and_what_differs(tmp_path, monkeypatch, waveform):
    from matplotlib import image

    monkeypatch.chdir(tmp_path)
    audio.write("a.wav", waveform, 16000)
    audio.write("b.wav", 0.5 * waveform, 16000)
    for names in (["a.wav"], ["a.wav", "b.wav"], ["a.wav", "b.wav", "a.wav"]):
        assert main(["plot", *names, "p.png", "-f"]) == 0
        picture = image.imread("p.png")
        assert picture.shape[1] == pytest.approx(480 * len(names) + 90, abs=2)
        assert picture[..., :3].std() > 0.1
    assert main(["plot", "a.wav", "p.png"]) == 2
    assert main(["plot", "a.wav", "p.jpg"]) == 2
    assert main(["plot", "none.wav", "q.png"]) == 2
    assert main(["plot", *["a.wav"] * 9, "q.png"]) == 2


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("resynt a b", "resynth"), ("resynth --stepz 3 a b", "--steps"), ("generate out --lable kick", "--label")],
)
def test_what_is_nearly_right_is_suggested(capsys, typed, meant):
    assert main(typed.split()) == 2
    error = capsys.readouterr().err
    assert f"(did you mean {meant}?)" in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("quick_measures")
def test_score_draws_what_it_compares(tmp_path, speech, capsys):
    picture = tmp_path / "both.png"
    assert main(["score", str(speech), str(speech), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    before = picture.read_bytes()
    assert main(["score", str(speech), str(speech), "--plot", str(picture)]) == 2
    assert "exists; give -f" in capsys.readouterr().err
    assert main(["score", str(speech), str(speech), "--plot", str(picture), "-f"]) == 0
    assert main(["score", str(speech), str(speech), "--plot", str(tmp_path / "both.jpg")]) == 2
    assert picture.read_bytes() == before


@pytest.mark.parametrize("typed", ["resynth missing.wav out.wav", "resynth --stepz 3 a b"])
def test_trouble_is_red_on_a_terminal_and_plain_elsewhere(monkeypatch, capsys, typed):
    def told(**environment):
        for name in ("NO_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert main(typed.split()) == 2
        return capsys.readouterr().err

    assert told().startswith("audiodiff: ")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert told().startswith("\033[1;31maudiodiff:\033[0m ")
    assert told(NO_COLOR="1").startswith("audiodiff: ")
    assert told(TERM="dumb").startswith("audiodiff: ")


@pytest.mark.parametrize("encoding", ["cp1252", "koi8-r", "ascii"])
def test_help_is_printed_whatever_the_terminal_encodes(encoding):
    done = python("-m", "audiodiff", "--help", text=False, env=environment() | {"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"resynth" in done.stdout


def test_batch_that_was_interrupted_names_how_to_go_on(cli, tmp_path):
    for name in "ab":
        recording(tmp_path / f"in/{name}.wav", 0.1, 16000, 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.wav").touch()
    status, _, err = cli("resynth", tmp_path / "in", tmp_path / "out")
    assert (status, err.count("\n")) == (2, 1)
    assert err.endswith("exists; give -f to overwrite, or another name; --workers 1 makes only what is missing\n")
