import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from sweeps.figures.drawing import as_png
from sweeps.figures.mask import mask_figure


def random_mask(*shape: int) -> torch.Tensor:
    return torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(3)).to(torch.int8)


def texts(figure: Figure) -> list[str]:
    found = [figure.get_suptitle(), *(text.get_text() for legend in figure.legends for text in legend.get_texts())]
    return found + [text for axes in figure.axes for text in (axes.get_title(), axes.get_xlabel()) if text]


def drawn(figure: Figure, place: int) -> np.ndarray:
    (image,) = figure.axes[place].get_images()
    array = image.get_array()
    assert array is not None
    return np.asarray(array)


def test_the_pixels_of_a_fully_connected_layer_by_hand() -> None:
    # Two neurons that see four pixels: 1 kept twice, 2 kept and inverted, 3 inverted once, 4 never.
    first = torch.tensor([[1, 1, -1, 0], [1, -1, 0, 0]], dtype=torch.int8)
    figure = mask_figure({"linear1": first, "linear2": random_mask(2, 8) * 0}, (1, 2, 2), title="s, trial 5")
    assert drawn(figure, 0).tolist() == [[100, 0], [-50, 0]]
    assert drawn(figure, 1).tolist() == [[100, 100], [50, 0]]
    # The neuron with three weights comes before the one with two.
    assert drawn(figure, 2).tolist() == [[1, 1], [-1, 0], [1, -1], [0, 0]]
    assert texts(figure) == [
        "s, trial 5: 20.83 % of all weights remain, 62.50 % in linear1\n"
        "linear1: share of each pixel's 2 outgoing weights, and single neurons",
        "kept",
        "inverted",
        "hidden",
        "kept minus inverted",
        "pixel column",
        "remaining",
        "pixel column",
        "the 2 neurons with most weights left",
        "0 of 2 neurons have none left",
    ]


def test_the_kernels_of_a_convolution_stand_in_a_grid_per_channel() -> None:
    mask = random_mask(5, 3, 3, 3)
    figure = mask_figure({"conv1": mask}, (3, 0, 0), title="s, trial 5")
    assert [axes.get_title() for axes in figure.axes] == [f"input channel: {name}" for name in ("red", "green", "blue")]
    canvas = drawn(figure, 1)
    assert canvas.shape == (6, 9)
    for place, (row, column) in enumerate([(0, 0), (0, 3), (0, 6), (3, 0), (3, 3)]):
        assert np.array_equal(canvas[row : row + 3, column : column + 3], mask[place, 1].numpy())
    assert np.isnan(canvas[3:, 6:]).all()
    assert "conv1: 5 kernels of 3x3 for each of 3 input channels" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("first", "shape"),
    [
        (random_mask(300, 784), (1, 28, 28)),
        (random_mask(20, 75), (3, 5, 5)),
        (random_mask(3, 35), (1, 5, 7)),
        (random_mask(3, 64) * 0, (1, 8, 8)),
        (random_mask(300, 6, 5, 5), (6, 0, 0)),
        (random_mask(1, 1, 3, 3), (1, 0, 0)),
    ],
    ids=["mnist", "colour", "oblong", "all hidden", "many kernels", "one kernel"],
)
def test_every_first_layer_can_be_drawn(first: torch.Tensor, shape: tuple[int, int, int]) -> None:
    name = "conv1" if first.ndim == 4 else "linear1"
    assert as_png(mask_figure({name: first}, shape, title="T")).startswith(b"\x89PNG")
