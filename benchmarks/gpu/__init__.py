"""What a GPU makes of packs: `python -m benchmarks.gpu --json FILE`, without Ray, Optuna and MLflow.

Three questions, one module each: how fast the device is at best (`benchmarks.limits`), how many lane-steps per second a
pack of K lanes makes and which share of that (`cases`), and what several processes that share the device make of the
same work, as the stock stack trains with fractions of a GPU (`cases` too). `table` puts them side by side.
"""
