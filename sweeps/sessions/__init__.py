"""What one session of a sweep does beside training.

It brings what earlier ones left into agreement (`reconciliation`), says that it lives (`heartbeat`), knows the best
trials so far (`leaders`), and writes what comes back (`recorder`). `sweeps.session` keeps its books.
"""
