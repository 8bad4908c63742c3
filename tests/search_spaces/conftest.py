"""What the tests of search spaces share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.errors import SpaceError
from search_spaces.load import load


@pytest.fixture
def only_fault(tmp_path: Path) -> Callable[[str], str]:
    """Loads a text and returns its one fault, without the name of the file."""

    def loaded(text: str) -> str:
        path = tmp_path / "space.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SpaceError) as caught:
            load(path)
        assert str(caught.value) == "\n".join(caught.value.faults)
        (fault,) = caught.value.faults
        assert fault.startswith(f"{path}: ")
        return fault.removeprefix(f"{path}: ")

    return loaded
