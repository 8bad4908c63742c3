"""Small data sets and fresh processes for the tests of supermask."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from supermask import data
from supermask.data import Dataset

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return data.load("digits")


@pytest.fixture(scope="session")
def patches() -> Dataset:
    """Coloured 6x6 images of 4 classes, small enough for float64 convolutions, under the name of a folder."""
    random = torch.Generator().manual_seed(7)
    prototypes = torch.randint(40, 216, (4, 3, 6, 6), generator=random)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(4, (count,), generator=random)
        noise = torch.randint(-40, 41, (count, 3, 6, 6), generator=random)
        return (prototypes[labels] + noise).to(torch.uint8), labels

    return Dataset("folder:patches", *draw(200), *draw(50), classes=4)


@pytest.fixture
def fresh_process() -> Callable[[str], str]:
    """Runs Python code in a process without the shape checks; gives what it printed."""

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
