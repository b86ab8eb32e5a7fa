"""Robot models, one MJCF file each.

Enters: a robot's name. Leaves: the path of its MJCF file, which MuJoCo opens as it is. The files
were written for this project from published numbers; what MJCF cannot express (limit and contact
stiffness) is in `user` data, explained at the top of each file. Add a robot by adding one MJCF file
here.
"""

import difflib
from pathlib import Path

__all__ = ["mjcf_path", "robot_names"]

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
