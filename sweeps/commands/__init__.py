"""What the command line is made of: its commands by module, and what they share to read arguments and to answer.

A command lives here and is registered in `sweeps.__main__`, where `run`, `resume` and `confirm` stand in full.
"""
