"""What to train next, and when to stop it: the Optuna study, sampling, prefetching, warm starts, successive halving.

The study is the source of truth. It lives in a `journal` beside the results or in a `database`.
"""
