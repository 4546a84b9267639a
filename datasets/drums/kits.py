"""Which kits there are, under which licence, and what is what in them, by name. Only CC0, CC-BY, CC-BY-SA and MIT."""

import re
from typing import NamedTuple


class Kit(NamedTuple):
    """Name a kit.

    Args:
        name: Under which its sounds are kept.
        package: Debian package.
        place: File (a SoundFont) or folder in it.
        names: Pattern of a sound's name for each label, tried in this order; what matches none is left out.
        author: To be named.
        licence: SPDX identifier.
        part: "train", "valid" or "test"; kits that share recordings are in one part.
    """

    name: str
    package: str
    place: str
    names: dict[str, str]
    author: str
    licence: str
    part: str


DRUMKITS = "usr/share/hydrogen/data/drumkits"
AVL = {  # General MIDI numbers come first
    "clap": r"^39-",
    "kick": r"^3[56]-|Kick",
    "snare": r"^(38|40)-",
    "hat": r"^(42|44|46|48)-.*Hat|HatSw",
    "tom": r"Tom(E|-|$)|FloorTo|14Tom|1[0-9]Tom",
    "cymbal": r"Cras|Crash|Ride|Splas|China",
    "percussion": r"^(37|54|56)-|Side[sS]tick|Tambourine|Cowbell",
}
KITS = (
    Kit(
        "bja-pacific",
        "hydrogen-drumkits",
        f"{DRUMKITS}/BJA_Pacific",
        {
            "kick": r"^BD",
            "snare": r"^SN",
            "hat": r"^HH",
            "tom": r"^TM",
            "cymbal": r"^(RD|CR|CY|SP)",
            "percussion": r"^(CB|BL)",
        },
        "Luc Tunguay",
        "CC-BY-SA-3.0",
        "train",
    ),
    Kit(
        "circafrique",
        "hydrogen-drumkits",
        f"{DRUMKITS}/circAfrique v4",
        {"percussion": r"."},
        "Jim Harney",
        "CC-BY-SA-3.0",
        "train",
    ),
    Kit(
        "audiophob",
        "hydrogen-drumkits",
        f"{DRUMKITS}/Audiophob",
        {"kick": r"kick|bd|bass", "snare": r"snare", "hat": r"hat", "tom": r"tom", "cymbal": r"crash|ride|cym"},
        "soundcloud.com/audiophobdubstep",
        "CC0-1.0",
        "valid",
    ),
    Kit(
        "red-zeppelin",
        "avldrums.lv2-soundfont",
        "usr/share/sounds/sf2/Red_Zeppelin_4_LV2.sf2",
        AVL,
        "Glen MacArthur",
        "CC-BY-SA-3.0",
        "train",
    ),
    Kit(
        "black-pearl",
        "avldrums.lv2-soundfont",
        "usr/share/sounds/sf2/Black_Pearl_4_LV2.sf2",
        AVL,
        "Glen MacArthur",
        "CC-BY-SA-3.0",
        "train",
    ),
    Kit(
        "sonic-pi",
        "sonic-pi-samples",
        "usr/share/sonic-pi/samples",
        {
            "kick": r"^bd_|^drum_(heavy_kick|bass)|^elec_(hollow|soft)_kick",
            "snare": r"^(sn_|drum_snare|elec_(hi_|lo_|mid_|filt_)?snare)",
            "hat": r"^drum_cymbal_(closed|pedal)",
            "tom": r"^drum_tom|^elec_fuzz_tom",
            "cymbal": r"^drum_(cymbal_(open|hard|soft)|splash)|^elec_cymbal",
            "clap": r"^perc_snap",
            "percussion": r"^drum_cowbell|^elec_(triangle|wood|bong|tick|bell)|^tabla|^perc_bell",
        },
        "freesound authors, named in the package's copyright file",
        "CC0-1.0 (bd_mehackit, perc_bell2, sn_generic: MIT)",
        "train",
    ),
    Kit(
        "fluid",
        "fluid-soundfont-gm",
        "usr/share/sounds/sf2/FluidR3_GM.sf2",
        {
            "percussion": r"Cow ?[bB]ell|Conga|Bongo|Clave(\(| |$)|Tambourine|Rim Tap|Sticks",
            "kick": r"Kick|Power Bass Drum",
            "snare": r"Snare|^Std Snare",
            "hat": r"Hi-Hat|(Open|Closed) Hat",
            "tom": r"Tom",
            "cymbal": r"Crash\(|^China Crash|Ride|Cymbal(\(| |$)|Splash",
            "clap": r"Clap",
        },
        "Frank Wen",
        "MIT",
        "test",
    ),
)


def label_of(kit: Kit, name: str) -> str | None:
    """Read the label off a sound's name; None if it is not used.

    >>> label_of(KITS[0], "SN3_01"), label_of(KITS[0], "xx")
    ('snare', None)
    """
    return next((label for label, pattern in kit.names.items() if re.search(pattern, name)), None)
