"""From a drawing to a network's input: scaled and placed as the data set's own images are, whatever these look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paribus.data import load_data
from paribus.web.drawing import DrawingError, Frame, ink_on

Pixels = npt.NDArray[np.uint8]
MNIST = Frame((28, 28), 20, 20, 14.5, 14.5, by_mass=True, ground=0, ink=255)
CANVAS = 280


def boxes(count: int, height: int, width: int, ground: int = 0, ink: int = 255) -> Pixels:
    """Images (count, 1, 32, 32), each a frame of ink around a middle that always lies at row 15, column 17."""
    images = np.full((count, 1, 32, 32), ground, dtype=np.uint8)
    top, left = 15 - height // 2, 17 - width // 2
    for index, image in enumerate(images[:, 0]):
        image[top : top + height, left : left + width] = ink
        hole = 2 + index % 3  # The centre of mass moves from image to image, the box does not.
        image[top + hole : top + height - 2, left + hole : left + width - 2] = ground
    return images


def replayed(image: Pixels, side: int, top: int, left: int) -> Pixels:
    """An image (H, W), light on dark, as somebody would draw it: big, in full ink, dark on light, somewhere."""
    big = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    canvas = np.full((CANVAS, CANVAS), 255, dtype=np.uint8)
    canvas[top : top + side, left : left + side] = np.where(big > 127, 0, 255)
    return canvas


@pytest.mark.parametrize(("ground", "ink"), [(0, 255), (255, 0), (20, 220), (240, 60)])
def test_a_frame_is_learnt_from_images(ground: int, ink: int) -> None:
    frame = Frame.of(boxes(40, 20, 16, ground, ink))
    assert frame is not None
    assert (frame.shape, frame.height, frame.width) == ((32, 32), 20, 16)
    assert (frame.row, frame.column, frame.by_mass) == (15, 17, False)
    assert (frame.ground, frame.ink) == (ground, ink)


def test_a_frame_knows_what_is_centred_by_mass() -> None:
    placed = np.stack([MNIST.place(1 - each[0] / 255.0) for each in 255 - boxes(60, 24, 9)])
    frame = Frame.of(placed[:, None])
    assert frame is not None and frame.by_mass
    assert frame.height == 20 and abs(frame.row - 14.5) < 0.51 and abs(frame.column - 14.5) < 0.51


@pytest.mark.real_data
def test_mnist_teaches_what_its_makers_wrote_down(data_folder: Path) -> None:
    frame = Frame.of(load_data("mnist", data_folder).train.images)
    assert frame is not None and frame.by_mass
    assert (frame.height, frame.width, frame.ground, frame.ink) == (20, 20, 0, 255)
    assert abs(frame.row - 14.5) < 0.05 and abs(frame.column - 14.5) < 0.05


@pytest.mark.real_data
def test_devanagari_is_placed_by_its_box(data_folder: Path) -> None:
    frame = Frame.of(load_data("dhcd", data_folder).train.images)
    assert frame is not None and not frame.by_mass
    assert (frame.height, frame.width, frame.ground, frame.ink) == (28, 28, 0, 255)


def test_digits_fill_their_images() -> None:
    frame = Frame.of(load_data("digits").train.images)
    assert frame is not None and not frame.by_mass
    assert (frame.shape, frame.height, frame.width) == ((8, 8), 8, 6)


def test_photos_have_no_frame() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), dtype=np.uint8)
    assert Frame.of(noise) is None
    assert Frame.of(np.zeros((5, 1, 32, 32), dtype=np.uint8)) is None


def test_without_training_images_the_frame_is_that_of_mnist() -> None:
    assert Frame.as_mnist((28, 28), mean=33) == Frame((28, 28), 20, 20, 14, 14, by_mass=True, ground=0, ink=255)
    assert (Frame.as_mnist((56, 56), mean=222).ground, Frame.as_mnist((56, 56), mean=222).ink) == (255, 0)


def test_a_frame_in_images_of_another_size_is_the_same_frame() -> None:
    assert MNIST.at((56, 14)) == Frame((56, 14), 40, 10, 29, 7.25, by_mass=True, ground=0, ink=255)
    assert MNIST.at((28, 28)) == MNIST


@given(
    side=st.tuples(st.integers(3, 200), st.integers(3, 200)),
    place=st.tuples(st.integers(0, 80), st.integers(0, 80)),
)
def test_ink_fills_the_box_with_its_centre_in_the_middle(side: tuple[int, int], place: tuple[int, int]) -> None:
    ink = np.zeros((CANVAS, CANVAS))
    ink[place[0] : place[0] + side[0], place[1] : place[1] + side[1]] = 1
    image = MNIST.place(ink)
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert max(len(rows), len(columns)) == 20
    assert image.shape == (28, 28) and image.max() == 255
    for found in (rows, columns):
        assert abs(found.mean() + 0.5 - 14.5) <= 0.5


def test_where_it_was_drawn_and_how_large_makes_no_difference() -> None:
    digit = load_data("digits").test.images[3, 0]
    first = MNIST.place(ink_on(replayed(digit, 160, 5, 90))).astype(int)
    second = MNIST.place(ink_on(replayed(digit, 240, 40, 0))).astype(int)
    assert np.abs(first - second).mean() < 6
    assert np.abs(first - MNIST.place(ink_on(replayed(digit.T, 160, 5, 90)))).mean() > 20


def test_ink_that_would_lie_outside_is_moved_inside() -> None:
    frame = Frame((28, 28), 26, 26, 4, 25, by_mass=True, ground=0, ink=255)
    image = frame.place(np.ones((50, 50)))
    assert image[:26, 2:].min() == 255 and image[26:].max() == 0 and image[:, :2].max() == 0


def test_dark_on_light_data_get_dark_ink() -> None:
    frame = Frame((28, 28), 20, 20, 14, 14, by_mass=False, ground=250, ink=30)
    image = frame.place(np.pad(np.ones((10, 10)), 30))
    assert image[0, 0] == 250 and image[14, 14] == 30


def test_ink_is_what_is_dark() -> None:
    pixels = np.array([[0, 255, 51]], dtype=np.uint8)
    assert ink_on(pixels).tolist() == [[1, 0, 0.8]]
    assert ink_on(np.stack([pixels] * 3, axis=-1)).tolist() == [[1, 0, 0.8]]


@pytest.mark.parametrize("ink", [np.zeros((9, 9)), np.full((9, 9), 0.05), np.zeros((0, 0))])
def test_an_empty_drawing_is_refused(ink: npt.NDArray[np.float64]) -> None:
    with pytest.raises(DrawingError, match=r"must have ink on it, but this one is empty\. Draw something\."):
        MNIST.place(ink)
