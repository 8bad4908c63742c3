"""The commands by module, and the options and consoles that they share.

A command lives here and is registered in `sweeps.__main__`, where `run`, `resume` and `confirm` stand in full.
"""
