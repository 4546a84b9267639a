"""The demo page in a real browser, cut off from everything but its server."""

import json
import re
import shutil

import pytest
from conftest import voiced
from support.page import NUMBERS, demo, resynth
from support.processes import free_port, python

import audiodiff
import audiodiff.utils.config
from audiodiff import audio
from audiodiff.cli import main
from audiodiff.models import registry


@pytest.fixture(scope="module")
def address(app, tiny_model_path, tmp_path_factory):
    """The address of `audiodiff demo`, which runs behind a proxy that does not answer: it needs no network."""
    folder = tmp_path_factory.mktemp("server")
    nowhere = {name: f"http://127.0.0.1:{free_port()}" for name in ("HTTP_PROXY", "HTTPS_PROXY")}
    with demo(folder, "--model", tiny_model_path, **nowhere) as (address, _):
        yield address
    lines = (folder / "log").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("audiodiff: compiling for this machine")]  # the first time
    assert lines == [f"{address} (stop with Ctrl-C)"]  # so no traceback either


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

    def works(self, place, milliseconds=1000):
        """Waits for a progress bar, or the seconds that have passed."""
        shown = ", ".join(f"{place} .{kind}" for kind in ("progress-text", "meta-text", "eta-bar"))
        self.page.locator(shown).first.wait_for(timeout=milliseconds)

    def open(self, name):
        """Opens a tab, from the menu where the page is too narrow for all."""
        tab = self.page.get_by_role("tab", name=name)
        if not tab.is_visible():
            self.page.locator(".overflow-menu button").first.click()
            tab = self.page.locator(".overflow-dropdown button", has_text=name)
        tab.click()
        self.page.wait_for_timeout(300)

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
        assert (each.troubles, each.outside) == ([], [])


@pytest.mark.browser
def test_visitor_drops_a_recording_and_gets_the_default_result(visit, speech, tiny_model_path, tmp_path):
    here = visit()
    here.upload(speech)
    here.press()
    assert NUMBERS.match(here.numbers().strip())[1] == "2"
    served = here.page.request.get(here.shown()).body()
    arguments = ["resynth", str(speech), str(tmp_path / "out.wav"), "--model", str(tiny_model_path)]
    assert main(arguments) == 0
    assert served == (tmp_path / "out.wav").read_bytes()
    here.play()


@pytest.mark.browser
def test_visitors_choices_reach_the_model(visit, speech, tiny_model_path, tmp_path):
    here = visit()
    here.upload(speech)
    here.page.get_by_label("number input for Solver steps").fill("3")
    here.page.get_by_label("Seed", exact=True).first.fill("7")
    here.page.get_by_label("Solver", exact=True).click()
    here.page.get_by_role("option", name="dpmpp-2m", exact=True).click()
    here.page.get_by_label("pure noise", exact=True).check()
    here.press()
    assert NUMBERS.match(here.numbers().strip())[1] == "3"
    served = here.page.request.get(here.shown()).body()
    assert served == resynth(speech, tmp_path / "out.wav", tiny_model_path)


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
    here.page.get_by_role("button", name="Example: English").first.click()
    here.page.locator("#recording").get_by_label("Clear").wait_for()
    assert here.too_wide_by() <= 0
    here.press()
    here.numbers()
    here.shown()
    assert here.too_wide_by() <= 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_all_tabs_have_one_width_and_nothing_empty_is_shown(visit, width):
    here, found = visit(width=width), set()
    for name in ("Vocode", "Generate", "Restore", "Mel", "Models"):
        here.open(name)
        panel = here.page.locator("[role=tabpanel]:visible").bounding_box()
        found.add((panel["x"], panel["width"]))
        assert here.too_wide_by() <= 0
        assert here.page.locator("[role=tabpanel]:visible audio, [id$=-picture]:visible").count() == 0
    assert len(found) == 1
    assert here.page.locator(".model-card:visible").count() == len(registry.shipped())
    cards = here.page.locator(".model-cards").bounding_box()
    assert (cards["x"], cards["width"]) in found
    link = here.page.locator(".model-card a").first.get_attribute("href")
    assert here.page.request.get(here.page.url.partition("?")[0] + link).ok


@pytest.mark.browser
def test_sound_plays_while_it_is_made_and_is_the_result(visit, tmp_path):
    long = tmp_path / "long.wav"
    audio.write(long, voiced(12.0), 16000)
    here = visit()
    here.upload(long)
    here.page.get_by_label("Play while it is made").check()
    here.press()
    here.page.wait_for_function("() => document.querySelector('#live audio')?.currentTime > 0.3", timeout=60000)
    assert here.page.locator("#result a[download]").count() == 0  # it is heard before there is a result
    here.numbers()
    served = here.page.request.get(here.shown()).body()
    assert len(served) == 44 + 2 * 12 * 16000


@pytest.mark.browser
def test_visitor_generates_and_varies_and_sees_work_within_the_first_second(visit):
    here = visit()
    here.open("Generate")
    here.page.get_by_label("number input for Sounds").fill("8")
    here.page.get_by_role("button", name="Generate", exact=True).click()
    here.works("#generated")
    last = here.page.locator("#made-7 a[download]")
    here.page.locator("#made-0 a[download]").wait_for(timeout=60000)  # the first is there before the last
    assert last.count() == 0
    last.wait_for(timeout=60000)
    before = last.get_attribute("href")
    assert here.page.locator("#made-8").count() == 0
    here.page.get_by_role("button", name="Vary this one").click()
    here.works("#generated")
    here.page.wait_for_function(
        "before => { const a = document.querySelector('#made-7 a[download]');"
        " return a && a.getAttribute('href') !== before }",
        arg=before,
        timeout=60000,
    )


@pytest.mark.browser
def test_example_of_restore_is_damaged_and_gets_mended(visit):
    here = visit()
    here.open("Restore")
    here.page.get_by_role("button", name="Example: clipping").click()
    here.page.locator("#damaged-recording").get_by_label("Clear").wait_for()
    here.page.get_by_role("button", name="Mend").click()
    here.page.locator("#mended-facts").filter(has_text="clipped from 0.2").wait_for(timeout=60000)
    here.page.locator("#mended-picture img").wait_for()


@pytest.mark.browser
def test_visitor_moves_through_the_estimates(visit, speech):
    here = visit()
    here.upload(speech)
    here.press()
    here.numbers()
    here.page.get_by_text("Step by step").click()
    here.page.locator("#estimate-picture img").wait_for()
    first = here.page.locator("#estimate a[download]").get_attribute("href")
    here.page.get_by_label("range slider for After call").press("End")
    here.page.wait_for_function(
        "first => document.querySelector('#estimate a[download]')?.getAttribute('href') !== first", arg=first
    )


@pytest.mark.browser
def test_visitor_stops_what_takes_long(visit, speech):
    here = visit()
    here.page.get_by_role("tab", name="Generate").click()
    here.page.get_by_label("number input for Sounds").fill("12")
    panel = here.page.get_by_role("tabpanel").filter(has=here.page.get_by_label("Seed of the first"))
    panel.get_by_role("button", name="Generate", exact=True).click()
    here.page.wait_for_timeout(1500)
    panel.get_by_role("button", name="Stop").click()
    here.page.wait_for_timeout(2500)  # the sound that was being made
    assert here.page.locator("#made-11 a[download]").count() == 0
    here.page.get_by_role("tab", name="Vocode").click()
    here.upload(speech)
    here.press()
    here.numbers()


@pytest.mark.browser
def test_visitor_mends_and_reads_what_was_found(visit, speech):
    here = visit()
    here.page.get_by_role("tab", name="Restore").click()
    here.page.locator("#damaged-recording input[type=file]").set_input_files(speech)
    here.page.locator("#damaged-recording").get_by_label("Clear").wait_for()
    here.page.get_by_role("button", name="Mend").click()
    here.page.locator("#mended-picture img").wait_for(timeout=60000)
    here.page.get_by_label("clipping", exact=True).check()
    here.page.get_by_role("button", name="Mend").click()
    here.page.get_by_test_id("toast-body").filter(has_text="clip").wait_for(timeout=60000)


@pytest.mark.browser
def test_two_visitors_at_once_get_their_own_results(visit, speech, tiny_model_path, tmp_path):
    visitors = [visit(), visit()]
    for here, seed in zip(visitors, ("7", "8"), strict=True):
        here.upload(speech)
        here.page.get_by_label("Seed", exact=True).first.fill(seed)
    for here in visitors:
        here.press()
    for here, seed in zip(visitors, ("7", "8"), strict=True):
        here.numbers()
        out = tmp_path / f"{seed}.wav"
        assert main(["resynth", str(speech), str(out), "--model", str(tiny_model_path), "--seed", seed]) == 0
        assert here.page.request.get(here.shown()).body() == out.read_bytes()


@pytest.mark.browser
def test_demo_twenty_programs_at_once_get_their_own_sounds(address, tiny_model_path):
    pytest.importorskip("psutil")
    script = audiodiff.utils.config.shipped_path("demos/benchmarks/load_page.py")
    done = python(script, address, "--model", tiny_model_path, "--clients", 20, "--seconds", 20, timeout=200)
    told = json.loads(done.stdout.splitlines()[0])
    assert done.returncode == 0, done.stdout + done.stderr
    assert told["right"] >= 20
    assert told["wrong"] == told["failed"] == 0
