"""The demo page: what is behind its button, what its command refuses, and the page itself in a real browser."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import voiced

import audiodiff
from audiodiff import audio
from audiodiff.cli import demo, main
from audiodiff.model import Vocoder
from audiodiff.resynthesis import resynthesise
from audiodiff.solvers import DPMSolver2M
from audiodiff.starts import PureNoise

NUMBERS = re.compile(
    r"[\d.]+ s of audio in [\d.]+ s · [\d.]+ × real time · (\d+) network calls?( per channel)? · log-mel L1 ([\d.]+)"
)
CHOICES = {"steps": 3, "solver": "dpmpp-2m", "start": "noise", "seed": 7}


@pytest.fixture(scope="module")
def app():
    """demos/app.py as `audiodiff demo` loads it."""
    pytest.importorskip("gradio")
    return demo._page()


@pytest.fixture(scope="module")
def vocoder(tiny_model_path):
    return Vocoder.load(tiny_model_path)


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    """Two different channels at a rate that is not the model's."""
    path = tmp_path_factory.mktemp("stereo") / "stereo.wav"
    audio.write(path, torch.cat([voiced(0.7, 44100), voiced(0.7, 44100, pitch=180, seed=1)]), 44100)
    return path


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """A folder of files that cannot be resynthesised."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.wav").write_text("no sound at all " * 20)
    (folder / "<i>text.wav").write_text("no sound at all " * 20)
    (folder / "empty.wav").touch()
    soundfile.write(folder / "eight.wav", np.zeros((16000, 8), np.float32), 16000)
    soundfile.write(folder / "short.wav", np.zeros(100, np.float32), 16000)
    soundfile.write(folder / "long.wav", np.zeros(301 * 8000, np.int16), 8000)
    return folder


def resynth(recording, out, model):
    """Writes what `audiodiff resynth` makes with CHOICES; returns the bytes of the file."""
    options = [word for name, value in CHOICES.items() for word in (f"--{name}", str(value))]
    assert main(["resynth", str(recording), str(out), "--model", str(model), "--device", "cpu", *options]) == 0
    return out.read_bytes()


# --- behind the button -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["speech", "stereo"])
def test_gradio_serves_the_bytes_that_resynth_writes(app, vocoder, tiny_model_path, fixture, request, tmp_path):
    recording = request.getfixturevalue(fixture)
    answer = app.respond(vocoder, str(recording), **CHOICES)
    served = app.gr.Audio(interactive=False).postprocess(answer[2])
    assert Path(served.path).read_bytes() == resynth(recording, tmp_path / "out.wav", tiny_model_path)


def test_players_get_what_went_in_and_what_came_out_as_pcm(app, vocoder, speech):
    numbers, original, result, *_ = app.respond(vocoder, str(speech), **CHOICES)
    waveform, rate = audio.read(speech, vocoder.sample_rate)
    wanted = resynthesise(vocoder, waveform, steps=3, solver=DPMSolver2M(), start=PureNoise(), seed=7)
    for (shown_rate, shown), sound in ((original, waveform), (result, wanted.waveform)):
        assert (shown_rate, shown.dtype) == (rate, np.int16)
        np.testing.assert_array_equal(shown, audio.to_pcm(sound)[0])
    assert NUMBERS.fullmatch(numbers.replace("**", ""))[1] == str(wanted.network_calls)


def test_quiet_recording_stays_quiet(app, vocoder, tmp_path):
    audio.write(tmp_path / "quiet.wav", 0.01 * voiced(0.5), 16000)
    original = app.respond(vocoder, str(tmp_path / "quiet.wav"), **CHOICES)[1]
    served = app.gr.Audio(interactive=False).postprocess(original)
    assert np.abs(soundfile.read(served.path)[0]).max() < 0.0031


def test_own_start_is_the_models(app, tiny_model_path, speech):
    vocoder = Vocoder.load(tiny_model_path)
    vocoder.start = audiodiff.starts.GriffinLim(vocoder.mel, n_iter=2)
    waveform, _ = audio.read(speech, vocoder.sample_rate)
    own = app.respond(vocoder, str(speech), **CHOICES | {"start": "own"})[2][1]
    wanted = resynthesise(vocoder, waveform, steps=3, solver=DPMSolver2M(), seed=7).waveform
    np.testing.assert_array_equal(own, audio.to_pcm(wanted)[0])
    assert not np.array_equal(own, app.respond(vocoder, str(speech), **CHOICES)[2][1])


def test_progress_is_told_after_each_step(app, vocoder, speech):
    told = []
    app.respond(vocoder, str(speech), **CHOICES, progress=told.append)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_spectrogram_has_seconds_kilohertz_and_a_panel_for_each_channel(app):
    tone = 0.5 * torch.sin(2 * torch.pi * 2000 * torch.arange(32000) / 16000)
    figure = app.draw(torch.stack([tone, 0 * tone]), 16000, "Original")
    left, right = figure.axes[:2]
    assert right.get_xlabel() == "time (s)"
    assert left.get_ylabel() == right.get_ylabel() == "frequency (kHz)"
    assert (*left.get_xlim(), *left.get_ylim()) == (0, 2, 0, 8)
    picture = left.images[0].get_array()
    assert picture.mean(1).argmax() == pytest.approx(len(picture) * 2 / 8, abs=1)
    assert picture.max() == pytest.approx(20 * np.log10(0.5), abs=0.5)  # dB relative to a full-scale sine
    assert right.images[0].get_array().max() < -100


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, "no recording yet"),
        ("text.wav", "text.wav: cannot be read as audio"),
        ("<i>text.wav", "&lt;i&gt;text.wav: cannot be read as audio"),
        ("empty.wav", "empty.wav: "),
        ("eight.wav", "8 channels"),
        ("short.wav", "give a longer"),
        ("long.wav", "301 s long, and this page takes at most 300"),
    ],
)
def test_bad_recording_gets_one_line(app, vocoder, bad, name, words):
    with pytest.raises(app.gr.Error) as error:
        app.respond(vocoder, name and str(bad / name), **CHOICES)
    message = error.value.message
    assert words in message
    assert "\n" not in message
    assert str(bad) not in message  # the visitor's file has a name, and the server's folders are its own affair
    assert not error.value.print_exception


@pytest.mark.parametrize("seed", [None, -1, 2**64])
def test_bad_seed_gets_one_line(app, vocoder, speech, seed):
    with pytest.raises(app.gr.Error, match="whole number"):
        app.respond(vocoder, str(speech), **CHOICES | {"seed": seed})


# --- the page ----------------------------------------------------------------------------------------------------


def test_page_sends_no_analytics_and_starts_from_the_models_own_choices(app, vocoder):
    page = app.build(vocoder)
    assert page.analytics_enabled is False
    values = {block.label: getattr(block, "value", None) for block in page.blocks.values() if hasattr(block, "label")}
    assert (values["Solver steps"], values["Solver"], values["Start"], values["Seed"]) == (2, "ddim", "own", 0)


@pytest.mark.parametrize("shipped", [True, False])
def test_example_button_appears_where_an_example_is_shipped(app, vocoder, shipped, monkeypatch, speech):
    monkeypatch.setattr(app, "_example", lambda: speech if shipped else None)
    page = app.build(vocoder)
    buttons = [block.value for block in page.blocks.values() if isinstance(block, app.gr.Button)]
    assert buttons == ["Take the example"] * shipped + ["Resynthesise"]


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
        (["--port", "0"], "--port 0: a number from 1 to 65535"),
        (["--device", "abacus"], "unknown device 'abacus'"),
    ],
)
def test_demo_command_refuses_in_one_line(arguments, words, capsys):
    pytest.importorskip("gradio")
    assert main(["demo", *arguments]) == 2
    assert re.fullmatch(f"audiodiff: {re.escape(words)}.*\n", capsys.readouterr().err)


def test_demo_command_without_gradio_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "audiodiff: the page needs gradio: pip install 'audiodiff[demo]'\n"


# --- in a browser ------------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def address(app, tiny_model_path, tmp_path_factory):
    """The address of `audiodiff demo`, which runs behind a proxy that does not answer: it needs no network."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    nowhere = {name: f"http://127.0.0.1:{free_port()}" for name in ("HTTP_PROXY", "HTTPS_PROXY")}
    source = {"PYTHONPATH": str(Path(audiodiff.__file__).parents[1])}
    call = [sys.executable, "-m", "audiodiff", "demo", "--port", str(port), "--model", str(tiny_model_path)]
    with open(folder / "log", "w") as log:
        environment = os.environ | source | nowhere
        server = subprocess.Popen(call, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until_served(f"http://127.0.0.1:{port}/", server)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(30)
    assert (folder / "log").read_text() == f"http://127.0.0.1:{port}/ (stop with Ctrl-C)\n"  # so no traceback either


def wait_until_served(address, server, seconds=120):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), direct.open(address, timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError(f"the page was not served within {seconds} s")


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class Visit:
    """Opens the page, cut off from everything but its server, and collects what goes wrong."""

    def __init__(self, browser, address, width=1280):
        self.troubles, self.outside = [], []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.route(lambda url: not url.startswith((address, "data:", "blob:")), self._block)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", lambda said: self.troubles.append(said.text) if said.type == "error" else None)
        self.page.goto(address)
        self.page.get_by_role("button", name="Resynthesise").wait_for()
        self.page.wait_for_load_state("networkidle")

    def _block(self, route):
        self.outside.append(route.request.url)
        route.abort()

    def upload(self, path):
        self.page.locator("#recording input[type=file]").set_input_files(path)
        self.page.locator("#recording").get_by_label("Clear").wait_for()

    def press(self):
        self.page.get_by_role("button", name="Resynthesise").click()

    def numbers(self):
        line = self.page.locator("#numbers").filter(has_text=NUMBERS)
        line.wait_for(timeout=60000)
        return line.inner_text()

    def shown(self):
        """Waits for both pictures and both players; returns the address of the result's file."""
        for name in ("original", "result"):
            picture = self.page.locator(f"#{name}-picture img")
            picture.wait_for()
            assert picture.evaluate("picture => picture.complete && picture.naturalWidth > 300")
            assert picture.bounding_box()["height"] > 100
        return self.page.locator("#result a[download]").get_attribute("href")

    def play(self):
        """Plays the result, which is longer than a second, until its clock shows the first."""
        self.page.locator("#result").get_by_label("Play", exact=True).click()
        self.page.locator("#result").filter(has_text=re.compile(r"Result\s*0:01")).wait_for()

    def too_wide_by(self):
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.fixture
def visit(chromium, address):
    visits = []

    def open_page(width=1280):
        visits.append(Visit(chromium, address, width))
        return visits[-1]

    yield open_page
    for each in visits:
        each.page.close()


@pytest.mark.browser
def test_visitor_drops_a_recording_and_gets_the_default_result(visit, speech, tiny_model_path, tmp_path):
    here = visit()
    here.upload(speech)
    here.press()
    assert NUMBERS.fullmatch(here.numbers().strip())[1] == "2"
    served = here.page.request.get(here.shown()).body()
    arguments = ["resynth", str(speech), str(tmp_path / "out.wav"), "--model", str(tiny_model_path)]
    assert main(arguments) == 0
    assert served == (tmp_path / "out.wav").read_bytes()
    here.play()
    assert (here.troubles, here.outside) == ([], [])


@pytest.mark.browser
def test_visitors_choices_reach_the_model(visit, speech, tiny_model_path, tmp_path):
    here = visit()
    here.upload(speech)
    here.page.get_by_label("number input for Solver steps").fill("3")
    here.page.get_by_label("Seed").fill("7")
    here.page.get_by_label("Solver", exact=True).click()
    here.page.get_by_role("option", name="dpmpp-2m", exact=True).click()
    here.page.get_by_label("pure noise", exact=True).check()
    here.press()
    assert NUMBERS.fullmatch(here.numbers().strip())[1] == "3"
    served = here.page.request.get(here.shown()).body()
    assert served == resynth(speech, tmp_path / "out.wav", tiny_model_path)
    assert (here.troubles, here.outside) == ([], [])


@pytest.mark.browser
def test_visitor_with_a_bad_file_reads_one_message_and_can_go_on(visit, bad, speech):
    here = visit()
    here.upload(bad / "eight.wav")
    here.press()
    message = here.page.get_by_test_id("toast-body")
    message.wait_for()
    assert message.count() == 1
    assert "8 channels" in message.inner_text()
    assert here.page.locator("#result a[download]").count() == 0
    here.page.locator("#recording").get_by_label("Clear").click()
    here.upload(speech)
    here.press()
    here.numbers()
    here.shown()
    assert (here.troubles, here.outside) == ([], [])


@pytest.mark.browser
def test_old_result_goes_when_the_next_recording_is_bad(visit, bad, speech):
    here = visit()
    here.upload(speech)
    here.press()
    here.numbers()
    here.page.locator("#recording").get_by_label("Clear").click()
    here.press()
    here.page.locator("#result a[download]").wait_for(state="detached")
    assert here.page.locator("#numbers").inner_text().strip() == ""


@pytest.mark.browser
def test_text_file_is_turned_away_at_the_door(visit, tmp_path):
    (tmp_path / "note.txt").write_text("no sound at all")
    here = visit()
    here.page.locator("#recording input[type=file]").set_input_files(tmp_path / "note.txt")
    here.page.get_by_test_id("toast-body").filter(has_text="note.txt").wait_for()


@pytest.mark.browser
def test_phone_shows_the_example_and_its_result_without_overflow(visit):
    here = visit(width=400)
    here.page.get_by_role("button", name="Take the example").click()
    here.page.locator("#recording").get_by_label("Clear").wait_for()
    assert here.too_wide_by() <= 0
    here.press()
    here.numbers()
    here.shown()
    assert here.too_wide_by() <= 0
    assert (here.troubles, here.outside) == ([], [])
