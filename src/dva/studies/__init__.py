"""One file per table or figure of the paper: what it measures, how, and its plot.

Enters: finished runs, or a task. Leaves: a figure and the numbers behind it as JSON. Add a study by
adding one file; a study reads runs and learners and changes nothing in them. Each file is a
command: `python -m dva.studies.NAME --help`.
"""
