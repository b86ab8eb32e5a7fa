"""One file per table or figure of the paper, or question of our own: measurement and plot.

Enters: a task, or runs. Leaves: the numbers as JSON, and a figure (PNG and SVG). A study builds its
algorithms with `dva.runs.build`, as training does. Add one by adding its file, with `Config`,
`measure(config, report)`, `draw(result)` and `summary(result)`, and a line in `STUDIES`; the
command is `dva study NAME`.
"""

import importlib
from types import ModuleType

__all__ = ["STUDIES", "find_study"]

STUDIES = {
    "theorem1": "D.Va's gradient against behaviour cloning and against one graph (Theorem 1).",
    "decomposition": "Full gradient = decoupled part + control regularisation (equations 4, 5).",
    "gradient-alignment": "Cosine and norms of full and decoupled gradient (Figure 3).",
    "gradient-norm": "Visual SHAC's and D.Va's gradient at the same parameters (Figure 9).",
    "backward-time": "Seconds of the backward pass, by three routes (Table 1).",
    "peak-memory": "Peak memory of an iteration, by three routes (Figure 10).",
    "state-dpg": "SHAC against the decoupled gradient, from states (Figure 13).",
    "visual-shac": "Visual SHAC against D.Va, same camera (Figure 7).",
    "sight": "How much D.Va's policies see, and what they look at.",
    "ablation": "The parts of this D.Va switched off one at a time.",
}
"""Every study with one line of help."""


def find_study(name: str) -> ModuleType:
    """Imports the module of a study by its name in `STUDIES`."""
    return importlib.import_module(f"dva.studies.{name.replace('-', '_')}")
