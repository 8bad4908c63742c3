"""Completion of arguments that name a search space."""

from pathlib import Path


def complete_space(incomplete: str) -> list[str]:
    """Completes search spaces: names of shipped ones, files of this folder."""
    from search_spaces import shipped

    own = (path.name for path in Path().glob("*.y*ml"))
    return [name for name in (*shipped.names(), *sorted(own)) if name.startswith(incomplete)]
