"""Analysis of results: intervals, effects, importance, comparison, selection and recommendation.

Everything here reads `sweeps.results`, `sweeps.confirmations` and `sweeps.pareto`, and works without Ray, MLflow and
torch.
"""
