"""What a GPU makes of packs: `python -m benchmarks.gpu --json FILE`, without Ray, Optuna and MLflow.

Four questions: how fast the device is at best (`benchmarks.limits`), how many lane-steps per second a pack of K lanes
makes and which share of that (`cases`), what several processes that share the device make of the same work, as the
stock stack trains with fractions of a GPU (`cases` too), and which form of K convolutions is fastest (`convolutions`).
What is measured is kept from call to call (`kept`), and `table` puts it side by side.
"""
