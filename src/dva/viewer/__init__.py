"""What people look at in a browser: the report of runs, one page that needs no network.

Enters: folders of runs. Leaves: an HTML file that holds everything it shows, videos and scripts
included. What is drawn and in which words may be changed in `report_data`, how it looks in
`assets`; numbers are those of `dva.studies.comparison` and of the runs themselves.
"""

from dva.viewer.report import write_report

__all__ = ["write_report"]
