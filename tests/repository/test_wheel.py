"""A wheel, installed in an empty environment, used from a folder that has nothing to do with the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv

import pytest
from support.tree import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The python of a fresh environment that has this wheel, and everything else from the running one."""
    folder = tmp_path_factory.mktemp("wheel")
    call = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(call, check=True, cwd=folder)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True, cwd=folder)
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()
    with open(os.path.join(site, "dependencies.pth"), "w") as file:
        file.write(sysconfig.get_path("purelib") + "\n")
    return python


def run(python, folder, *call):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run([python, *call], cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


def test_wheel_is_what_gets_imported(installed, tmp_path):
    found = run(installed, tmp_path, "-c", "import audiodiff; print(audiodiff.__file__)").stdout
    assert str(installed.parent.parent) in found


def test_wheel_vocodes_with_its_default_weights(installed, tmp_path):
    script = "from audiodiff.utils.config import shipped_path; print(shipped_path('demos/audio/speech.flac'))"
    recording = run(installed, tmp_path, "-c", script).stdout.strip()
    done = run(installed, tmp_path, "-m", "audiodiff", "resynth", recording, "out.wav")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.wav").is_file()


def test_wheel_trains_from_an_unrelated_folder_and_vocodes_with_the_result(installed, tmp_path):
    tiny = [
        "model.denoiser.network.width=16",
        "trainer.max_steps=4",
        "trainer.val_check_interval=4",
        "sanity_check=false",
    ]
    done = run(installed, tmp_path, "-m", "audiodiff.train", "experiment=quickstart", "data.batch_size=2", *tiny)
    assert done.returncode == 0, done.stderr
    script = "from audiodiff.utils.config import shipped_path; print(shipped_path('demos/audio/speech.flac'))"
    recording = run(installed, tmp_path, "-c", script).stdout.strip()
    model = ["--model", "runs/quickstart"]
    done = run(installed, tmp_path, "-m", "audiodiff", "resynth", recording, "out.wav", *model)
    assert done.returncode == 0, done.stderr


def test_wheel_trains_on_a_missing_folder_with_one_line_and_code_2(installed, tmp_path):
    done = run(installed, tmp_path, "-m", "audiodiff.train", "data.path=nowhere")
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_wheel_has_the_demo_page(installed, tmp_path):
    pytest.importorskip("gradio")
    script = "from audiodiff.web import layout; print(len(layout.build('speech-16k', 'cpu').blocks) > 50)"
    done = run(installed, tmp_path, "-c", script)
    assert done.stdout.strip() == "True", done.stderr
    script = "from audiodiff.web import common; print(len(common.examples()), len(common.shipped(common.LICENCES)))"
    done = run(installed, tmp_path, "-c", script)
    assert done.stdout.split() == ["3", "2"], done.stderr
