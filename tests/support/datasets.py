"""Shared by the tests of the recipes of data sets: their scripts, imported, and a host of recordings on loopback."""

import contextlib
import csv
import functools
import http.server
import importlib.util
import sys
import threading
from urllib.parse import unquote

from audiodiff.utils.config import shipped_path

FOLDER = shipped_path("datasets")


def script(place, name=None):
    """Import datasets/PLACE.py, which may import what lies beside it, under a name (its own)."""
    path = FOLDER / f"{place}.py"
    sys.path[:0] = [folder for folder in (str(FOLDER), str(path.parent)) if folder not in sys.path]
    spec = importlib.util.spec_from_file_location(name or path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def serving(folder):
    """Serve a folder on loopback; yield the address, and the list of the paths that are asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(unquote(self.path))
            super().do_GET()

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{host.server_address[1]}", asked
        host.shutdown()


def write_places(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path
