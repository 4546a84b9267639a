"""Measure recordings, and propose sigma_data and the range and shift of a schedule for training on them.

OVERRIDEs are those of `python -m audiodiff.train`: they choose the mel and the whitening, hence the diffused space.
Standard output holds overrides too, ready to be appended to the training command.
"""

import argparse
import json
from typing import TYPE_CHECKING, Any

from audiodiff.cli import checks, messages, parsing
from audiodiff.cli.jobs import check_new_file

if TYPE_CHECKING:
    from torch import Tensor

LONGEST = 30.0  # seconds of a recording that are measured
EXAMPLE = "audiodiff calibrate recordings mel=24k-hop256 --plot calibration.png"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the recordings, overrides and outputs."""
    parser.add_argument(
        "data", type=checks.recordings, metavar="DATA", help="manifest (.jsonl) or folder of recordings"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="of the training config, such as mel=24k-hop256"
    )
    parser.add_argument(
        "--clips", type=checks.whole(1), default=200, metavar="N", help="recordings that are measured (default: 200)"
    )
    parser.add_argument("--plot", metavar="OUT.png", help="draw spectrum, noise levels and what is seen at each time")
    parsing.add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Compose the config, read the recordings, measure and print."""
    check_new_file(options.plot, options.force, ".png")
    from audiodiff.training.hydra_config import composed, plain

    section = plain(composed(["data.path=recordings", *options.overrides]).model)
    from audiodiff.tuning import calibrate
    from audiodiff.utils.config import build

    whitening, schedule = build(section["whitening"]), build(section["denoiser"]["schedule"])
    waveforms, encoded, rate = _encode(section, whitening, options)
    calibration = calibrate.calibrate(waveforms, encoded, rate)
    if options.plot:
        calibrate.plot(calibration, schedule, options.plot)
    values = {
        "prediction.sigma_data": calibration.sigma_data,
        "schedule.log_snr_min": calibration.log_snr_min,
        "schedule.log_snr_max": calibration.log_snr_max,
        "schedule.shift": calibration.shift,
    }
    if options.json:
        print(json.dumps({"clips": len(waveforms), "rms_dbfs": calibration.rms_dbfs, **values}, indent=2))
    else:
        messages.say(f"{len(waveforms)} recordings, {calibration.rms_dbfs:g} dBFS rms; append to the training command:")
        print(" ".join(f"{name}={value:g}" for name, value in values.items()))
    return 0


def _encode(
    section: dict[str, Any], whitening: Any, options: argparse.Namespace
) -> tuple[list["Tensor"], list["Tensor"], int]:
    """Read recordings and maps them to the diffused space."""
    import torch
    from tqdm import tqdm

    from audiodiff import audio
    from audiodiff.audio import io as audio_io
    from audiodiff.data.recordings import recordings_of
    from audiodiff.mel import LogMel
    from audiodiff.utils.config import build

    spec = build(section["mel"]) if "mel" in section else None
    rate = spec.sample_rate if spec else section["sample_rate"]
    hop = spec.hop_length if spec else section["hop_length"]
    log_mel = LogMel(spec) if spec else None
    waveforms, encoded = [], []
    for recording in tqdm(recordings_of(options.data, 0.1, options.clips), unit="file", disable=None):
        waveform = audio_io.mono(audio.read(recording.path, rate, seconds=LONGEST)[0], recording.path)
        whole = waveform[:, : waveform.shape[-1] // hop * hop]
        if whole.shape[-1] < (spec.min_samples if spec else hop):
            continue
        with torch.no_grad():
            mel = log_mel(whole[None])[..., : whole.shape[-1] // hop] if log_mel else whole[None]
            encoded.append(whitening.encode(whole[None], whitening.gains(mel))[0])
        waveforms.append(waveform)
    return waveforms, encoded, rate
