"""The ground of every other room: devices, threads, Warp's runtime, and recorded blocks.

Enters: work, as plain functions or Warp launches, and values that a user typed. Leaves: the same
work spread over threads or replayed as one graph, checked values, and seconds per phase. Nothing
here knows a robot, a task or an algorithm: change here how work runs, never what it computes.
Import the modules by name: a module that needs neither Warp nor torch does not load them.
"""
