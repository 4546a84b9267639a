"""Says what is used of each Debian package, what the files are called, and which clip is in which split.

Nothing here reads or writes a file. A file of a package is used where its path matches its source's `keep` and not
its `drop`; its place in the sorted list of all files of the source decides the held-out speaker's half.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import quote

import numpy as np

HELD_OUT = "carlo"  # this speaker validates and tests; nothing is ever trained on him
SEEN_SHARE = 0.04  # of each training speaker's files, the last of them by name, kept for validation
MIN_SECONDS = 0.2
MIN_RMS = 5e-3  # -46 dBFS: three of gcin's syllables are cut so that only breath is left, at -48 and below
RULES = 1  # raise it with any change of `fault` or `flat_names`: what was built by other rules is then checked again
SPLITS = ("train", "valid_seen", "valid", "test")

# Asterisk's prompts that hold no speech. Only the Russian speaker says what the others' join and leave beep.
SIGNALS = r"^silence/|^beep|^(ascending|descending)-2tone|^tt-monkeys\."
SIGNALS_AND_CHIMES = SIGNALS + r"|^confbridge-(join|leave)\."


@dataclass(frozen=True)
class Source:
    """Say which files below `base` of a package are used: those that match `keep` and not `drop`."""

    key: str  # the folder of its clips
    package: str
    base: str
    speaker: str  # "{who}" is filled from the group of that name in `keep`
    licence: str
    author: str  # as the package's copyright file has it
    keep: str = ""
    drop: str = r"(?!)"
    default: bool = True


@dataclass(frozen=True)
class Clip:
    """Describe one FLAC file; all but `position` (from 1, by name, in its whole source) goes into the manifests."""

    path: str
    n_samples: int
    sample_rate: int
    speaker: str
    package: str
    licence: str
    native_rate: int
    position: int


@dataclass(frozen=True)
class Built:
    """Tell what one source gave: its clips and, with file and reason, what was left out."""

    source: Source
    sample_rate: int
    version: str
    clips: list[Clip]
    left_out: list[dict[str, str]]
    rules: int


def asterisk(voice: str, speaker: str, author: str, licence: str, drop: str = SIGNALS_AND_CHIMES) -> Source:
    """Describe one voice of Asterisk's telephone prompts, of which there is one a language."""
    language, base = voice[:2], f"usr/share/asterisk/sounds/{voice}"
    package = f"asterisk-core-sounds-{language}-g722"
    return Source(f"asterisk-{language}", package, base, speaker, licence, author, drop=drop)


RUSSIAN = "usr/share/festival/voices/russian/msu_ru_nsh_clunits/wav"
MANDARIN = "usr/share/gcin-voice/ogg"
CHU_LO = "2014 ChionMeilin with the vocal source from Chu Lo (聲優 羅竺與徵音梅林開發委員會錄音組)"
SOURCES = (
    Source("festvox-ru", "festvox-ru", RUSSIAN, "shmyrev", "BSD-like", "2005 Nickolay V. Shmyrev"),
    asterisk("en_US_f_Allison", "allison", "2003-2010 Allison Smith", "CC-BY-SA-3.0"),
    asterisk("es_MX_f_Allison", "allison", "2003-2010 Allison Smith", "CC-BY-SA-3.0"),
    asterisk("fr_CA_f_June", "june", "2006-2008 June Wallack", "CC-BY-SA-3.0"),
    asterisk("ru_RU_f_IvrvoiceRU", "ivrvoice-ru", "2010 Maxim (provided by Maxim Topal)", "CC-BY-3.0", SIGNALS),
    asterisk("it_IT_m_Carlo", HELD_OUT, "2012 Carlo Flora", "CC-BY-3.0"),
    Source("gcin-chu_lo", "gcin-voice", MANDARIN, "chu_lo", "CC-BY-3.0", CHU_LO, keep=r"/5\.ogg$"),
    Source(
        "gcin-edward_liu",
        "gcin-voice",
        MANDARIN,
        "edward_liu",
        "GPL-3.0-only OR LGPL-3.0-only",
        "2014 Edward Der-Hua Liu",
        keep=r"/3\.ogg$",
        default=False,
    ),
    Source(
        "tuxpaint",
        "tuxpaint-stamps-default",
        "usr/share/tuxpaint/stamps",
        "tuxpaint-{who}",
        "GPL-2.0-or-later",
        "2002-2022 Bill Kendrick",
        keep=r"_desc(?:_(?P<who>[a-z]{2}(?:_[A-Z]{2})?))?\.",
        drop=r"_desc_es\.",
        default=False,
    ),
    Source(
        "fillets",
        "fillets-ng-data-cs",
        "usr/share/games/fillets-ng/sound",
        "fillets-{who}",
        "GPL-2.0-only",
        "Ivo Danihelka, Pavel Danihelka, ALTAR interactive and others",
        keep=r"^(?:.*-(?P<who>[mv])-)?",
        default=False,
    ),
    Source(
        "klettres",
        "klettres-data",
        "usr/share/klettres",
        "klettres-{who}",
        "GPL-2.0-or-later",
        "2001-2011 Anne-Marie Mahfouf and others",
        keep=r"^(?P<who>\w+)/(alpha|syllab)/",
        drop="^(tn|pt_BR|it|uk|da|ml)/",
        default=False,
    ),
    Source(
        "ktuberling",
        "ktuberling-data",
        "usr/share/ktuberling/sounds",
        "ktuberling-{who}",
        "GPL-2.0-or-later",
        "2007-2017 Albert Astals Cid, 2000 KDE Team and others",
        keep=r"^(?P<who>\w+)(@\w+)?/",
        drop="^(wa|ga|nn|uk)/",
        default=False,
    ),
)


def flat_names(paths: Sequence[str]) -> list[str]:
    """Turn relative paths into distinct ASCII file stems, so that folders can be dropped without a clash.

    >>> flat_names(["digits/1.g722", "a b/c.ogg", "a b/c.wav"])
    ['digits+1', 'a%20b+c=ogg', 'a%20b+c=wav']
    """
    parts = [os.path.splitext(p) for p in paths]
    n_same = Counter(stem for stem, _ in parts)
    flat = [quote(stem, safe="/").replace("/", "+") for stem, _ in parts]
    return [f + ("=" + suffix[1:] if n_same[stem] > 1 else "") for f, (stem, suffix) in zip(flat, parts, strict=True)]


def speaker_of(source: Source, path: str) -> str | None:
    """Name who speaks in a file of the source; None where the file is not used.

    >>> speaker_of(SOURCES[1], "digits/1.g722"), speaker_of(SOURCES[1], "silence/1.g722")
    ('allison', None)
    """
    match = re.search(source.keep, path)
    if match is None or re.search(source.drop, path):
        return None
    return source.speaker.format(who=match.groupdict().get("who") or "other")


def fault(waveform: np.ndarray, sample_rate: int) -> str | None:
    """Say why a clip is of no use; None where it is fine.

    >>> fault(np.zeros(16000), 16000), fault(np.sin(np.arange(16000.0)) / 2, 16000)
    ('silent', None)
    """
    if waveform.size == 0:
        return "empty"
    if waveform.size < MIN_SECONDS * sample_rate:
        return f"shorter than {MIN_SECONDS} s"
    if not np.isfinite(waveform).all():
        return "not finite"
    if math.sqrt(np.mean(np.square(waveform, dtype=np.float64))) < MIN_RMS:
        return "silent"
    return "clipped" if np.mean(np.abs(waveform) > 0.99) > 0.01 else None


def split(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    """Divide the clips by speaker and name.

    The held-out speaker's odd positions are `valid`, his even ones `test`. The last 4 % of every other speaker's
    files are `valid_seen`, the rest `train`; they are sorted by file name without the folder, so that each language
    of a speaker has its share.
    """
    parts: dict[str, list[Clip]] = {name: [] for name in SPLITS}
    speakers: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        speakers[clip.speaker].append(clip)
    for clip in speakers.pop(HELD_OUT, []):
        parts["valid" if clip.position % 2 else "test"].append(clip)
    for theirs in speakers.values():
        theirs.sort(key=lambda clip: (os.path.basename(clip.path), clip.path))
        n_train = len(theirs) - math.ceil(SEEN_SHARE * len(theirs))
        parts["train"] += theirs[:n_train]
        parts["valid_seen"] += theirs[n_train:]
    return {name: sorted(part, key=lambda clip: clip.path) for name, part in parts.items()}


def check_splits(parts: dict[str, list[Clip]]) -> None:
    """Raise ValueError where a file is in two splits or the held-out speaker is trained on."""
    n_seen = Counter(clip.path for part in parts.values() for clip in part)
    twice = [path for path, n in n_seen.items() if n > 1]
    if twice:
        raise ValueError(f"{len(twice)} files are in more than one split, the first is {twice[0]}")
    if any(clip.speaker == HELD_OUT for name in ("train", "valid_seen") for clip in parts[name]):
        raise ValueError(f"the held-out speaker {HELD_OUT} is among the training speakers")


def manifest_line(clip: Clip) -> str:
    """Write a clip as one line of JSON."""
    fields = asdict(clip)
    del fields["position"]
    return json.dumps(fields, ensure_ascii=False) + "\n"
