"""The table of `audiodiff eval`."""

import json

import pytest

from audiodiff import audio
from audiodiff.cli import main
from audiodiff.data.folders import scan_folder
from audiodiff.evaluation import vocoder_table
from audiodiff.models.base import Model
from audiodiff.models.starts import CoarseToFine, PureNoise

pytestmark = pytest.mark.usefixtures("quick_measures")


@pytest.fixture
def folder(tmp_path, waveform):
    for name, gain in (("a", 1.0), ("b", 0.5)):
        audio.write(tmp_path / f"{name}.wav", gain * waveform, 16000)
    return tmp_path


def test_table_scores_recordings_as_perfect_and_counts_calls(folder, tiny_model_path):
    vocoder = Model.load(tiny_model_path)
    rows = vocoder_table.rows_of(vocoder, calls=(1, 3))
    table = vocoder_table.evaluate(vocoder, rows, scan_folder(folder))
    assert [row["calls"] for row in table["rows"]] == [0, 0, 0, 0, 0, 1, 3]
    recordings, ceiling, floor, _, _, noise, _ = table["rows"]
    assert ceiling["mr_stft"][0] < floor["mr_stft"][0]
    assert recordings["log_mel_l1"] == [0.0, 0.0, 0.0]
    assert noise["log_mel_l1"][0] > 0.1  # random weights
    assert table["clips"] == 2
    assert "| pure noise | 3 |" in vocoder_table.markdown(table)


def test_table_of_a_model_with_a_start_has_it_alone_and_at_each_number_of_calls(folder, tiny_model_path):
    vocoder = Model.load(tiny_model_path)
    vocoder.start = CoarseToFine(vocoder.mel, time=0.4, full=1, half=1, quarter=0, eighth=0)
    rows = vocoder_table.rows_of(vocoder, calls=(1, 2))
    assert [(row.name, row.calls) for row in rows[5:]] == [
        ("coarse-to-fine 1/1/0/0, t = 0.4, alone", 0),
        ("coarse-to-fine 1/1/0/0, t = 0.4", 1),
        ("coarse-to-fine 1/1/0/0, t = 0.4", 2),
        ("pure noise", 2),
    ]
    table = vocoder_table.evaluate(vocoder, rows[5:8], scan_folder(folder))
    assert all(row["log_mel_l1"][0] > 0 for row in table["rows"])


def test_rows_in_another_precision_are_named_and_sound_nearly_the_same(tiny_model_path, waveform):
    vocoder = Model.load(tiny_model_path)
    vocoder.start = CoarseToFine(vocoder.mel, time=0.4, full=1, half=1, quarter=0, eighth=0)
    rows = vocoder_table.rows_of(vocoder, (1,), ["float32", "bfloat16"])
    assert [row.name for row in rows[5:]] == [
        "coarse-to-fine 1/1/0/0, t = 0.4, alone",
        "coarse-to-fine 1/1/0/0, t = 0.4",
        "coarse-to-fine 1/1/0/0, t = 0.4, bfloat16",
        "pure noise",
    ]
    sound = waveform[None, :, : 64 * vocoder.hop_length]
    exact, rough = (row.vocode(vocoder.spectrogram(sound), sound) for row in rows[6:8])
    assert 0 < (exact - rough).norm() < 0.05 * exact.norm()
    assert vocoder.precision == "float32"
    vocoder.start = PureNoise()
    assert [row.name for row in vocoder_table.rows_of(vocoder, (1, 2), ["bfloat16"])[5:]] == [
        "pure noise, bfloat16"
    ] * 2


def test_command_of_the_command_line_prints_the_same_table(folder, tiny_model_path, tmp_path, capsys):
    out = tmp_path / "table.json"
    line = [
        "eval",
        str(tiny_model_path),
        str(folder),
        "--seconds",
        "1",
        "--calls",
        "2",
        "--out",
        str(out),
        "--precisions",
        "float32",
    ]
    assert main(line) == 0
    shown = capsys.readouterr().out
    assert vocoder_table.markdown(json.loads(out.read_text())) in shown
    assert "| pure noise | 2 |" in shown
    assert main(line) == 2
    assert "-f" in capsys.readouterr().err


def test_interval_holds_the_mean_and_narrows_with_more_values():
    few, many = vocoder_table.interval([0.0, 1.0, 0.2, 0.7]), vocoder_table.interval([0.0, 1.0, 0.2, 0.7] * 25)
    assert few[1] < few[0] < few[2]
    assert many[2] - many[1] < few[2] - few[1]
    assert vocoder_table.interval([float("nan")]) is None


@pytest.mark.parametrize("call", [["nowhere"], ["nowhere", "--seconds", "1"]])
def test_command_refuses_missing_recordings_in_one_line(tiny_model_path, call, capsys):
    assert main(["eval", str(tiny_model_path), *call]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
