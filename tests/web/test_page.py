"""The demo page: what is behind its buttons, and what its command refuses."""

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from conftest import voiced
from starlette.applications import Starlette
from starlette.testclient import TestClient
from support.page import CHOICES, NUMBERS, resynth
from support.processes import free_port

import audiodiff
from audiodiff import audio
from audiodiff.cli import main
from audiodiff.diffusion.solvers import DPMSolver2M
from audiodiff.mel import MelSpec
from audiodiff.mel.spectrogram import mel_of
from audiodiff.models import registry
from audiodiff.models.generator import Generator
from audiodiff.models.starts import PureNoise
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.resynthesis import resynthesise
from audiodiff.web import live
from audiodiff.web.live import LiveSounds, LiveStream


@pytest.fixture(scope="module")
def vocoder(tiny_model_path):
    return Vocoder.load(tiny_model_path)


@pytest.fixture(scope="module")
def drums():
    return Generator.load("drums")


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    """Two different channels at a rate that is not the model's."""
    path = tmp_path_factory.mktemp("stereo") / "stereo.wav"
    audio.write(path, torch.cat([voiced(0.7, 44100), voiced(0.7, 44100, pitch=180, seed=1)]), 44100)
    return path


# --- behind the button -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["speech", "stereo"])
def test_gradio_serves_the_bytes_that_resynth_writes(app, vocoder, tiny_model_path, fixture, request, tmp_path):
    recording = request.getfixturevalue(fixture)
    answer = app.vocode.respond(vocoder, str(recording), **CHOICES)
    served = app.gr.Audio(interactive=False).postprocess(answer[2])
    assert Path(served.path).read_bytes() == resynth(recording, tmp_path / "out.wav", tiny_model_path)


def test_players_get_what_went_in_and_what_came_out_as_pcm(app, vocoder, speech):
    numbers, original, result, *_ = app.vocode.respond(vocoder, str(speech), **CHOICES)
    waveform, rate = audio.read(speech, vocoder.sample_rate)
    wanted = resynthesise(vocoder, waveform, steps=3, solver=DPMSolver2M(), start=PureNoise(), seed=7)
    for (shown_rate, shown), sound in ((original, waveform), (result, wanted.waveform)):
        assert (shown_rate, shown.dtype) == (rate, np.int16)
        np.testing.assert_array_equal(shown, audio.to_pcm(sound)[0])
    assert NUMBERS.match(numbers.replace("**", ""))[1] == str(wanted.network_calls)


def test_quiet_recording_stays_quiet(app, vocoder, tmp_path):
    audio.write(tmp_path / "quiet.wav", 0.01 * voiced(0.5), 16000)
    original = app.vocode.respond(vocoder, str(tmp_path / "quiet.wav"), **CHOICES)[1]
    served = app.gr.Audio(interactive=False).postprocess(original)
    assert np.abs(soundfile.read(served.path)[0]).max() < 0.0031


def test_own_start_is_the_models(app, tiny_model_path, speech):
    vocoder = Vocoder.load(tiny_model_path)
    vocoder.start = audiodiff.models.starts.GriffinLim(vocoder.mel, n_iter=2)
    waveform, _ = audio.read(speech, vocoder.sample_rate)
    own = app.vocode.respond(vocoder, str(speech), **CHOICES | {"start": "own"})[2][1]
    wanted = resynthesise(vocoder, waveform, steps=3, solver=DPMSolver2M(), seed=7).waveform
    np.testing.assert_array_equal(own, audio.to_pcm(wanted)[0])
    assert not np.array_equal(own, app.vocode.respond(vocoder, str(speech), **CHOICES)[2][1])


def test_progress_is_told_after_each_step(app, vocoder, speech):
    told = []
    app.vocode.respond(vocoder, str(speech), **CHOICES, progress=told.append)
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_spectrogram_has_seconds_and_kilohertz_and_stereo_is_drawn_once(app):
    tone = 0.5 * torch.sin(2 * torch.pi * 2000 * torch.arange(32000) / 16000)
    panel, bar = app.common.draw(torch.stack([tone, 0 * tone]), 16000, "Original").axes
    assert (panel.get_title(), panel.get_xlabel(), panel.get_ylabel()) == (
        "Original, both channels",
        "time (s)",
        "frequency (kHz)",
    )
    assert bar.get_ylabel() == "level (dB)"
    assert (*panel.get_xlim(), *panel.get_ylim()) == (0, 2, 0, 8)
    picture = panel.images[0].get_array()
    assert picture.mean(1).argmax() == pytest.approx(len(picture) * 2 / 8, abs=1)
    assert picture.max() == pytest.approx(20 * np.log10(0.5) - 3, abs=0.5)  # dB relative to a full-scale sine; half


def test_gap_is_marked_in_both_pictures(app, vocoder, tiny_model_path, speech):
    *_, before, after = app.restore.mend(vocoder, str(tiny_model_path), str(speech), "gap", 0.2, 0.25, 0)
    for figure in (before, after):
        assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [0.2, 0.25]


def test_numbers_have_naturalness_beside_distances_of_all_three_sounds(app, vocoder, speech):
    pytest.importorskip("speechmos")
    table = app.vocode.respond(vocoder, str(speech), **CHOICES)[0].splitlines()[2:]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    assert head[1].startswith("naturalness, 1 to 5")
    assert [row[0] for row in rows] == ["Original", "Result", "Griffin-Lim"]
    assert all(1 < float(row[1]) < 5 for row in rows)
    assert rows[0][2:] == ["0.000", "0.000"]


@pytest.mark.parametrize("task", ["gap", "declip", "bandwidth"])
def test_examples_of_restore_have_the_damage_that_is_mended(app, task, tmp_path):
    vocoder = Vocoder.load(registry.DEFAULT_MODEL)
    (rate, samples), chosen, begin, end = app.restore.damaged_example(vocoder.sample_rate, task)
    assert (rate, chosen) == (vocoder.sample_rate, task)
    soundfile.write(tmp_path / "damaged.wav", samples, rate)
    told, *_ = app.restore.mend(vocoder, registry.DEFAULT_MODEL, str(tmp_path / "damaged.wav"), task, begin, end, 0)
    found = {"gap": "filled from 1.5 to 1.58 s", "declip": "clipped from 0.2", "bandwidth": "undamaged up to"}
    assert found[task] in told


# --- played while it is made -------------------------------------------------------------------------------------


def test_live_stream_is_a_wav_of_the_samples_that_the_answer_has(app, vocoder, speech, tmp_path):
    stream = LiveStream(vocoder.sample_rate, 1)
    answer = app.vocode.respond(vocoder, str(speech), **CHOICES, live=stream)
    (tmp_path / "live.wav").write_bytes(b"".join(stream.content()))
    played, rate = audio.read(tmp_path / "live.wav")  # of unknown length, as from a pipe
    assert (answer[2][0], rate) == (vocoder.sample_rate,) * 2
    assert np.array_equal(audio.to_pcm(played)[0], answer[2][1])
    assert answer[2][1].shape == answer[1][1].shape


def test_live_stream_ends_when_the_visitor_stops(app, vocoder, speech):
    stream, stops, visitor = LiveStream(vocoder.sample_rate, 1), app.Stops(), SimpleNamespace(session_hash="one")
    put = stream.put
    stream.put = lambda samples: (put(samples), stops.want(visitor))
    with pytest.raises(app.gr.Error, match="stopped"):
        app.vocode.respond(vocoder, str(speech), **CHOICES, stops=stops, request=visitor, live=stream)
    assert len(list(stream.content())) == 2  # the header and the piece that was made


def test_live_sounds_are_served_once_and_forgotten_when_there_are_many():
    lives = LiveSounds()
    first, *_, last = (lives.open(16000, 1) for _ in range(live.MOST + 1))
    assert list(first.content())[1:] == []  # its listener never came
    client = TestClient(Starlette(routes=[lives.route()]))
    last.put(np.array([[1], [-1]], np.int16))
    last.end()
    assert client.get(f"/{live.PLACE}/{last.name}.wav").content[44:] == b"\x01\x00\xff\xff"
    assert client.get(f"/{live.PLACE}/{last.name}.wav").status_code == 404
    assert client.get(f"/{live.PLACE}/nobody.wav").status_code == 404


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, "no recording yet"),
        ("text.wav", "text.wav: cannot be read as audio"),
        ("<i>text.wav", "&lt;i&gt;text.wav: cannot be read as audio"),
        ("eight.wav", "8 channels"),
        ("short.wav", "give a longer"),
        ("long.wav", "301 s long, and this page takes at most 300"),
    ],
)
def test_bad_recording_gets_one_line(app, vocoder, bad, name, words):
    with pytest.raises(app.gr.Error) as error:
        app.vocode.respond(vocoder, name and str(bad / name), **CHOICES)
    message = error.value.message
    assert words in message
    assert "\n" not in message
    assert str(bad) not in message  # the visitor's file has a name, and the server's folders are its own affair
    assert not error.value.print_exception


@pytest.mark.parametrize("seed", [None, -1, 2**64])
def test_bad_seed_gets_one_line(app, vocoder, speech, seed):
    with pytest.raises(app.gr.Error, match="whole number"):
        app.vocode.respond(vocoder, str(speech), **CHOICES | {"seed": seed})


# --- the other buttons -------------------------------------------------------------------------------------------


def test_last_estimate_is_the_result_and_there_is_one_for_each_call(app, tiny_model_path, speech):
    vocoder = Vocoder.load(tiny_model_path)
    vocoder.projection_iters = vocoder.final_iters = 0
    answer = app.vocode.respond(vocoder, str(speech), 3, "ddim", "noise", 7)
    assert len(answer[-1]) == 3
    np.testing.assert_allclose(answer[-1][-1][1], answer[2][1], atol=16)  # a path holds 5e-4 of noise at t = 0
    shown, picture = app.vocode.show_estimate(answer[-1], 2)
    np.testing.assert_array_equal(shown[1], answer[-1][1][1])
    assert picture.axes[0].get_title() == "Estimate after call 2 of 3"
    assert app.vocode.show_estimate([], 1) == (None, None)


def test_stopped_work_ends_after_the_step_and_the_next_one_runs(app, vocoder, speech):
    stops, visitor, done = app.Stops(), SimpleNamespace(session_hash="a"), []

    def stop(progress):
        done.append(progress)
        stops.want(visitor)

    with pytest.raises(app.gr.Error, match="stopped"):
        app.vocode.respond(vocoder, str(speech), **CHOICES, progress=stop, stops=stops, request=visitor)
    assert done == [(0, 3)]
    app.vocode.respond(vocoder, str(speech), **CHOICES, progress=done.append, stops=stops, request=visitor)
    assert done[1:] == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("vary", [False, True])
def test_generated_sounds_are_those_of_the_command(app, drums, vary, tmp_path):
    call = ["generate", "--label", "snare", "--steps", "16", "--device", "cpu"]
    assert main([*call, str(tmp_path), "-n", "2", "--seed", "5"]) == 0
    first = list(app.generate.make(drums, "drums", "snare", 1.0, 2, 5))
    if vary:
        source = tmp_path / "snare-0006.wav"
        assert main([*call, str(tmp_path / "varied"), "--seed", "9", "--init", str(source), "--strength", "0.5"]) == 0
        made = list(app.generate.make(drums, "drums", "snare", 1.0, 1, 9, vary=(first[1], 0.5)))
        wanted = [tmp_path / "varied" / "snare-0009.wav"]
    else:
        made, wanted = first, [tmp_path / "snare-0005.wav", tmp_path / "snare-0006.wav"]
    for (rate, samples), path in zip(made, wanted, strict=True):
        served = app.gr.Audio(interactive=False).postprocess((rate, samples))
        assert Path(served.path).read_bytes() == path.read_bytes()


def test_served_file_stays_whole_while_the_same_sound_is_made_again(app, monkeypatch, tmp_path):
    player, samples, seen = app.gr.Audio(interactive=False), np.arange(800, dtype=np.int16), []
    served = Path(player.postprocess((16000, samples)).path)
    whole = served.read_bytes()
    write = app.served.processing_utils.audio_to_file.__wrapped__

    def slowly(rate, data, filename, **given):
        Path(filename).write_bytes(whole[:100])
        seen.append(served.read_bytes())
        write(rate, data, filename, **given)

    monkeypatch.setattr(app.served.processing_utils, "audio_to_file", app.served.beside(slowly))
    assert player.postprocess((16000, samples)).path == str(served)
    assert seen == [whole]
    assert served.read_bytes() == whole
    assert [path.name for path in served.parent.iterdir()] == [served.name]


def test_mended_recording_is_that_of_the_command(app, vocoder, tiny_model_path, speech, tmp_path):
    call = ["restore", str(speech), str(tmp_path / "out.wav"), "--task", "gap", "--from", "0.2", "--to", "0.25"]
    assert main([*call, "--model", str(tiny_model_path), "--device", "cpu"]) == 0
    answer = app.restore.mend(vocoder, str(tiny_model_path), str(speech), "gap", 0.2, 0.25, 0)
    served = app.gr.Audio(interactive=False).postprocess(answer[2])
    assert Path(served.path).read_bytes() == (tmp_path / "out.wav").read_bytes()


def test_mel_of_a_file_sounds_as_the_command_makes_it(app, vocoder, tiny_model_path, speech, tmp_path):
    mel, out = tmp_path / "mel.npy", tmp_path / "out.wav"
    assert main(["mel", str(speech), str(mel), "--model", str(tiny_model_path)]) == 0
    assert main(["vocode", str(mel), str(out), "--model", str(tiny_model_path), "--device", "cpu", "--seed", "3"]) == 0
    answer = app.mels.speak(vocoder, str(mel), app.mels.OWN, 3)
    assert Path(app.gr.Audio(interactive=False).postprocess(answer[1]).path).read_bytes() == out.read_bytes()


def test_page_names_the_convention_of_a_mel(app, speech, tmp_path):
    shipped, spec = Vocoder.load("speech-16k"), MelSpec.preset("whisper")
    waveform, _ = audio.read(app.common.examples()["Italian"], spec.sample_rate)
    np.save(tmp_path / "mel.npy", mel_of(spec, waveform)[0].numpy().T)
    told, *_ = app.mels.speak(shipped, str(tmp_path / "mel.npy"), app.mels.DETECT, 0)
    assert "the mel is converted" in told
    assert re.search(r"---\|\n\| whisper \|", told)


@pytest.mark.parametrize(
    ("name", "words"),
    [(None, "no mel yet"), ("pickled.pt", "is wanted"), ("text.npy", "text.npy: "), ("object.npy", "object.npy: ")],
)
def test_bad_mel_gets_one_line_and_pickles_stay_shut(app, vocoder, name, words, tmp_path):
    (tmp_path / "text.npy").write_text("no mel at all")
    (tmp_path / "pickled.pt").write_bytes(b"\x80\x04")
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(app.gr.Error) as error:
        app.mels.speak(vocoder, name and str(tmp_path / name), app.mels.OWN, 0)
    assert words in error.value.message
    assert "\n" not in error.value.message
    assert str(tmp_path) not in error.value.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": 13}, "from 1 to 12"),
        ({"n": 0}, "from 1 to 12"),
        ({"label": "bell"}, "unknown label"),
        ({"seed": None}, "empty"),
    ],
)
def test_bad_choice_of_sounds_gets_one_line(app, drums, changes, words):
    with pytest.raises(app.gr.Error, match=words):
        list(app.generate.make(drums, "drums", **{"label": "kick", "guidance": 1.0, "n": 1, "seed": 0} | changes))


def test_long_upload_is_refused_before_it_is_decoded(app, vocoder, bad, monkeypatch):
    monkeypatch.setattr(app.common.audio, "read", lambda *_: pytest.fail("decoded"))
    with pytest.raises(app.gr.Error, match="at most 300"):
        app.vocode.respond(vocoder, str(bad / "long.wav"), **CHOICES)


def test_every_shipped_model_has_a_card_without_dead_links(app):
    assert [place.stem for place in app.models.card_places()] == registry.shipped()
    for name in registry.shipped():
        card = app.models.card(name)
        assert card.startswith(f"# {name}")
        assert not re.search(r"\]\((?!http)", card)


@pytest.mark.parametrize("name", registry.shipped())
def test_short_card_has_six_facts_three_measured_numbers_and_a_link(app, name):
    short, facts = app.models.short_card(name), registry.locate(name)
    measured = facts.with_suffix(".eval.json")
    assert (short.count("<dt>"), short.count("<a ")) == (6, 1)
    assert f'href="gradio_api/file={facts.with_suffix(".md")}"' in short
    if not measured.is_file():
        assert "not measured" in short
        return
    assert short.count("<li>") == 3
    rows = json.loads(measured.read_text())["rows"]
    values = {f"{value[0]:.{digits}{kind}}" for row in rows for value in row.values() if isinstance(value, list)
                for digits, kind in ((0, "%"), (0, "f"), (1, "f"), (2, "f"))}  # fmt: skip
    assert set(re.findall(r"<li><b>([^<]+)</b>", short)) <= values


# --- the page ----------------------------------------------------------------------------------------------------


def test_page_sends_no_analytics_and_starts_from_the_models_own_choices(app, vocoder):
    page = app.build(vocoder)
    assert page.analytics_enabled is False
    values = {block.label: getattr(block, "value", None) for block in page.blocks.values() if hasattr(block, "label")}
    assert (values["Solver steps"], values["Solver"], values["Start"], values["Seed"]) == (2, "ddim", "own", 0)


@pytest.mark.parametrize("shipped", [True, False])
def test_each_example_that_is_shipped_has_a_button(app, vocoder, shipped, monkeypatch, speech):
    places = {"Klingon": "demos/audio/speech.flac" if shipped else "nowhere.flac", "Elvish": "nowhere.flac"}
    monkeypatch.setattr(app.common, "EXAMPLES", places)
    page = app.build(vocoder)
    buttons = [block.value for block in page.blocks.values() if isinstance(block, app.gr.Button)]
    assert buttons.count("Example: Klingon") == shipped
    assert "Example: Elvish" not in buttons
    assert "Resynthesise" in buttons


def test_examples_are_three_voices_and_their_licences_are_shown(app, vocoder):
    found = app.common.examples()
    assert len({path.read_bytes() for path in found.values()}) == len(app.common.EXAMPLES) == 3
    shown = "\n".join(str(b.value) for b in app.build(vocoder).blocks.values() if isinstance(b, app.gr.Markdown))
    for path in found.values():
        assert path.stem in shown
    assert "CC-BY" in shown


def test_button_of_an_example_hands_out_its_file(app, vocoder):
    page = app.build(vocoder)
    handed = {str(f.fn()) for f in page.fns.values() if getattr(f.fn, "func", None) is str}
    assert handed == {str(path) for path in app.common.examples().values()}


def test_page_of_no_model_is_refused(app, bad):
    with pytest.raises(ValueError, match="no such model"):
        app.build(bad / "nowhere.safetensors")


def test_served_page_answers_with_the_bytes_that_resynth_writes(app, vocoder, tiny_model_path, speech, tmp_path):
    client = pytest.importorskip("gradio_client")
    page = app.build(vocoder)
    try:
        address = app.launch(page, port=free_port())
        remote = client.Client(address, verbose=False, download_files=tmp_path, analytics_enabled=False)
        answer = remote.predict(client.handle_file(str(speech)), *CHOICES.values(), api_name="/resynthesise")
        with pytest.raises(ValueError, match="port is taken"):
            app.launch(app.build(vocoder), port=page.server_port)
    finally:
        page.close(verbose=False)
    assert page.share_url is None
    assert Path(answer[2]).read_bytes() == resynth(speech, tmp_path / "out.wav", tiny_model_path)


# --- the command -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nowhere"], "nowhere: no such model"),
        (["--port", "0"], "argument --port: 0: a whole number from 1 to 65535"),
        (["--device", "abacus"], "argument --device: unknown device 'abacus'"),
    ],
)
def test_demo_command_refuses_in_one_line(arguments, words, capsys):
    pytest.importorskip("gradio")
    assert main(["demo", *arguments]) == 2
    assert re.fullmatch(f"audiodiff: {re.escape(words)}.*\n", capsys.readouterr().err)


def test_demo_command_without_gradio_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "audiodiff: the page needs gradio: pip install 'audiodiff-torch[demo]'\n"
