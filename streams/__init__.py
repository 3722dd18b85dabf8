"""From a checked plan to a result, through a log of facts that can be folded again.

core       the run as a fold: pure, no clock, no IO        executor   one step: inputs, call, outcome; pure as well
embedded   the engine in this process, on a SQLite file    clock      where time comes from
cli        the ``dynamicflow`` command
"""
