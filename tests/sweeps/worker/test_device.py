"""A pack trains on what it was given."""

import socket

import pytest
import torch

from sweeps.worker.device import device_of


@pytest.mark.parametrize("there", [True, False])
def test_without_a_gpu_a_pack_trains_on_the_cpu_also_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device_of(0) == torch.device("cpu")


@pytest.mark.parametrize("gpus", [0.25, 1])
def test_with_a_gpu_or_a_share_of_one_it_trains_there(monkeypatch: pytest.MonkeyPatch, gpus: float) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of(gpus) == torch.device("cuda")


def test_a_gpu_that_cannot_be_used_is_an_error_and_no_pack_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError) as raised:
        device_of(0.5)
    assert str(raised.value) == (
        f"{socket.gethostname()}: a pack that was given 0.5 GPU must train there, but PyTorch {torch.__version__} "
        "finds none that it can use. Update the driver, install a PyTorch that fits it, or train on the CPU: "
        "--gpus-per-pack 0."
    )
