"""The demo page: five tabs over one vocoder and one generator.

    Vocode    recording → mel → our sound, beside the recording and Griffin-Lim; the estimate after each call
    Generate  a class → sounds, and variations of one of them
    Restore   a gap, clipping, missing treble
    Mel       a mel of another program → sound
    Models    the cards of what ships

Each tab is a file: what is behind its button is a function that tests call too, and `lay_out` places the components.
The page has no sampling of its own: it calls what the commands call, and the sounds that it serves hold the same bytes
as their WAV files. Everything comes from this process; the browser needs nothing else.
"""

import contextlib
import os
import signal
import tempfile
import time
from pathlib import Path

import gradio as gr
from gradio.tunneling import CURRENT_TUNNELS

from audiodiff.models import registry
from audiodiff.models.generator import Generator
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils import devices
from audiodiff.web import common, generate, mels, models, restore, served, vocode  # noqa: F401 — served changes how Gradio writes
from audiodiff.web.live import LiveSounds
from audiodiff.web.work import Stops

GENERATOR = "drums"
MOST_WAITING = 64
LARGEST_UPLOAD = "100mb"
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO_FONTS = ["ui-monospace", "Consolas", "Liberation Mono", "monospace"]
CSS = """
.gradio-container { width: 100% !important; max-width: 1100px !important; margin: 0 auto !important; }
.tabs, .tabitem { width: 100%; }
.numbers { text-align: center; }
.status { min-height: 60px; }
.status .meta-text-center { position: static; transform: none; }
.status .progress-level-inner { margin: 0 auto; }
.sound-picture :is(button, .image-frame, img) { width: 100%; height: 100%; object-fit: fill; }
.icon-button-wrapper:not(:has(*)) { display: none; }
.html-container:has(.model-cards) { padding: 0; }
#live audio { width: 100%; }
.model-cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 20px; }
.model-card { display: flex; flex-direction: column; gap: 12px; padding: 20px; border-radius: 12px;
  background: var(--block-background-fill); border: 1px solid var(--border-color-primary); }
.model-card h3 { margin: 0; font-size: 1.25em; }
.model-card p { margin: 0; }
.model-card dl { margin: 0; display: grid; gap: 6px; }
.model-card dl div { display: grid; grid-template-columns: 6.5em 1fr; gap: 8px; }
.model-card dt { opacity: 0.7; }
.model-card dd { margin: 0; overflow-wrap: break-word; overflow: hidden; display: -webkit-box;
  -webkit-box-orient: vertical; -webkit-line-clamp: 3; }
.model-card a { align-self: flex-start; margin: 0; padding: 0; }
.model-card ul.three { list-style: none; margin: auto 0 0; padding: 12px 0 0; display: grid; gap: 10px;
  grid-template-columns: repeat(3, 1fr); border-top: 1px solid var(--border-color-primary); }
.model-card ul.three li { display: flex; flex-direction: column; gap: 2px; }
.model-card ul.three b { font-size: 1.5em; line-height: 1.1; }
.model-card ul.three span { font-size: 0.8em; opacity: 0.8; }
.numbers table { margin: 0 auto; word-break: normal; overflow-wrap: normal; }
.facts { font-size: 0.85em; opacity: 0.8; }
@media (max-width: 640px) {
  .numbers table { font-size: 0.8em; }
  .numbers :is(th, td) { padding: 6px !important; }
  .model-card dl div { grid-template-columns: 1fr; gap: 0; }
  .model-card dd { -webkit-line-clamp: none; }
}
"""


def build(
    model: Vocoder | str | Path, device: str = "auto", generator: Generator | str | Path = GENERATOR
) -> gr.Blocks:
    """Lay out the page of a vocoder and a generator.

    Args:
        model: A vocoder, or what `Vocoder.load` takes.
        device: Where models that are loaded here go.
        generator: A generator, or what `Generator.load` takes.

    Raises:
        ValueError: A model or the device does not exist.
    """
    place = devices.resolve(device)
    vocoder = model if isinstance(model, Vocoder) else Vocoder.load(model, place)
    maker = generator if isinstance(generator, Generator) else Generator.load(generator, place)
    stops, lives = Stops(), LiveSounds()
    with gr.Blocks(title="audiodiff", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown("# audiodiff\nDiffusion on audio waveforms, on the CPU: a few network calls make a sound.")
        with gr.Tab("Vocode"):
            vocode.lay_out(vocoder, stops, lives)
        with gr.Tab("Generate"):
            generate.lay_out(maker, str(maker.info.get("name") or GENERATOR), stops)
        with gr.Tab("Restore"):
            restore.lay_out(vocoder, stops)
        with gr.Tab("Mel"):
            mels.lay_out(vocoder, stops)
        with gr.Tab("Models"):
            models.lay_out()
        page.unload(stops.want)
    page.lives, page.stops = lives, stops
    return page.queue(max_size=MOST_WAITING, default_concurrency_limit=4)


def launch(
    page: gr.Blocks, host: str = "127.0.0.1", port: int = 7860, open_browser: bool = False, share: bool = False
) -> str:
    """Serve a page from a thread, to nobody but `host` unless it is shared, and return its address.

    Raises:
        ValueError: The port is taken, the host is not this machine's, or no link could be had.
    """
    _bypass_proxy(host)
    try:
        server, local, shared = page.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            inline=False,
            share=share,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            max_file_size=LARGEST_UPLOAD,
            allowed_paths=[str(path) for path in (*common.examples().values(), *models.card_places())],
            theme=gr.themes.Soft(font=FONTS, font_mono=MONO_FONTS),
            css=CSS,
        )
    except OSError:
        raise ValueError(f"{host}:{port} cannot be served: the port is taken or the host unknown; try --port") from None
    server.router.routes.insert(0, page.lives.route())
    if share and not shared:
        page.close(verbose=False)
        raise ValueError("no public link could be had: check the network, or leave out --share")
    return shared or local


def main(
    model: Vocoder | str | Path = registry.DEFAULT_MODEL,
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int = 7860,
    open_browser: bool = False,
    share: bool = False,
    generator: Generator | str | Path = GENERATOR,
) -> None:
    """Serve the page until Ctrl-C or a termination, and leave no file behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    devices.small_pages()
    with tempfile.TemporaryDirectory(prefix="audiodiff-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build(model, device, generator)
        print(f"{launch(page, host, port, open_browser, share)} (stop with Ctrl-C)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
        page.stops.end()
        page.close(verbose=False)
        for tunnel in CURRENT_TUNNELS:
            tunnel.kill()


def _bypass_proxy(host: str) -> None:
    """Keep Gradio's question to its own server, whether it is up, from going to the proxy of the environment."""
    for name in ("NO_PROXY", "no_proxy"):  # where both are set, the small letters win
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost", "127.0.0.1", host]))
