"""The group of an image, read from its file name and folder."""

import re
from pathlib import Path

# Plate readers' file names. Each grammar gives a well, and a plate where the name holds one.
_GRAMMARS = (
    # EVOS: D6_auto_Plate_M_p00_z05_0_A02f00d0: plate, position, focus plane, channel, well, field.
    re.compile(r"(?P<plate>.+)_p\d+_z\d+_\d+_(?P<row>[A-P])(?P<column>\d{2})f\d+d\d+"),
    # ImageXpress projections: ch01_A_19_t1: channel, row, column, time.
    re.compile(r"ch\d+_(?P<row>[A-P])_(?P<column>\d{1,2})_t\d+"),
)


def group_of(path: Path) -> str:
    """The group of an image file: "plate/well" by a known grammar of its name, else its folder.

    The plate is the one in the name, else the folder's name. Focus planes, channels, times and
    fields of one well have one group, so that a split never parts them.
    """
    folder = path.absolute().parent.name
    for grammar in _GRAMMARS:
        found = grammar.fullmatch(path.stem)
        if found:
            plate = found.groupdict().get("plate") or folder
            return f"{plate}/{found['row']}{int(found['column']):02d}"
    return folder
