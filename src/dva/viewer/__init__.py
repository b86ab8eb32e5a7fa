"""What people look at in a browser: the report of runs, and the live viewer.

Enters: folders of runs, or a task. Leaves: an HTML file that holds everything it shows, videos and
scripts included (`write_report`); or a page with a robot in 3-D, driven by its policy, and with
controls (`view`). What a report says may be changed in `report_data`, how it looks in `assets`;
numbers are those of `dva.studies.comparison` and of the runs themselves. The live viewer is in
`live`.
"""

from dva.viewer.live.viewer import Viewer, view
from dva.viewer.report import write_report

__all__ = ["Viewer", "view", "write_report"]
