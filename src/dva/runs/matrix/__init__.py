"""A matrix of runs: every algorithm on every task with every seed, each in a process of its own.

Enters: a `Matrix` and a folder. Leaves: that folder with `benchmark.yaml`, one run folder for each
cell of the matrix, and a log of each. The state is what lies on the disk: nothing else is
remembered between two starts. Who carries out the sessions (processes of this machine, tasks of a
Ray cluster) is exchanged through `Workers`.
"""
