"""What a node has after `deploy/node.sh`."""

import subprocess
from pathlib import Path

import pytest

NEEDED = ("ray.dashboard.optional_deps", "psycopg", "boto3")
"""Imported on a head: by Ray's HTTP server, by MLflow and the study on PostgreSQL, by Ray's autoscaler on AWS."""
FOR_DEVELOPMENT = ("pytest", "moto", "hypothesis")


@pytest.mark.cluster
@pytest.mark.timeout(1200)
def test_a_node_has_what_a_head_imports_and_nothing_for_development(node_checkout: Path) -> None:
    def imports(name: str) -> bool:
        python = node_checkout / ".venv/bin/python"
        return not subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False).returncode

    assert {name: imports(name) for name in NEEDED} == dict.fromkeys(NEEDED, True)
    assert {name: imports(name) for name in FOR_DEVELOPMENT} == dict.fromkeys(FOR_DEVELOPMENT, False)
