"""Robot models, one MJCF file each.

Enters: a robot's name, or the path of a file. Leaves: the path of its MJCF file, which MuJoCo opens
as it is. The files are written for this project from published numbers; what MJCF has no word for
(limit and contact stiffness) stands in `user` data, explained at the top of each file. Add a robot
by adding one MJCF file here.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["find_mjcf", "mjcf_path", "robot_names"]

_FOLDER = Path(__file__).parent


def robot_names() -> list[str]:
    """Lists the names of the robots that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.xml"))


def mjcf_path(name: str) -> Path:
    """Finds the MJCF file of a robot.

    Raises:
        ValueError: there is no robot of that name.
    """
    path = _FOLDER / f"{name}.xml"
    if not path.is_file():
        close = difflib.get_close_matches(name, robot_names(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"Unknown robot {name!r}.{hint} Robots: {', '.join(robot_names())}. A path that ends "
            "in .xml names an MJCF file of your own."
        )
    return path


def find_mjcf(file: str, folders: Iterable[Path] = ()) -> Path:
    """Finds an MJCF file of one's own.

    Args:
        file: its path.
        folders: where a relative path may start, tried in turn; the working folder comes last.

    Raises:
        ValueError: there is no such file; the text names every place that was tried.
    """
    # A dict keeps the order and drops repetitions.
    places = list(dict.fromkeys([*(folder / file for folder in folders), Path.cwd() / file]))
    for place in places:
        if place.is_file():
            return place
    raise ValueError(
        f"There is no robot file {file!r}: tried {' and '.join(map(str, places))}. Give the path "
        f"of an MJCF file, or one of the robots {', '.join(robot_names())}."
    )
