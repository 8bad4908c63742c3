"""What a sweep's results mean: intervals, effects, importance, comparison, and which trial to take.

Everything here reads `sweeps.results`, `sweeps.confirmations` and `sweeps.pareto`, and works without Ray, MLflow and
torch.
"""
