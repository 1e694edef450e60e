"""Where the camera of a review looks. No window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organoseg_napari.framing import MARGIN, Frame, on, whole

lengths = st.floats(20, 5000)
parts = st.floats(0, 1)


def test_a_whole_picture_fills_the_window_but_for_a_margin() -> None:
    assert whole((100, 200), (500, 500)) == Frame((50, 100), pytest.approx(0.95 * 2.5))


def test_an_organoid_that_can_be_judged_where_it_is_moves_nothing() -> None:
    now = whole((256, 256), (600, 600))
    assert on((100, 100, 150, 150), (256, 256), (600, 600), now, 6.0) == now


def test_a_small_organoid_at_the_border_is_brought_near_without_showing_what_is_beside() -> None:
    now = whole((1000, 1000), (600, 600))
    frame = on((0, 980, 20, 1000), (1000, 1000), (600, 600), now, 6.0)
    assert frame.zoom == 6.0
    seen = 600 / 6.0
    assert frame.centre == (
        pytest.approx(seen / 2 * (1 - MARGIN)),
        pytest.approx(1000 - seen / 2 * (1 - MARGIN)),
    )


@given(
    st.tuples(lengths, lengths), st.tuples(st.floats(100, 2000), st.floats(100, 2000)),
    st.tuples(parts, parts), st.floats(0.01, 1), st.tuples(parts, parts), st.floats(0.001, 20),
    st.floats(0.1, 20),
)  # fmt: skip
def test_every_frame_shows_its_organoid_and_stays_inside_the_picture(
    picture: tuple[float, float],
    window: tuple[float, float],
    place: tuple[float, float],
    share: float,
    centre: tuple[float, float],
    zoom: float,
    most: float,
) -> None:
    size = max(share * min(picture), 1.0)
    y0, x0 = (a * (p - size) for a, p in zip(place, picture, strict=True))
    now = Frame((centre[0] * picture[0], centre[1] * picture[1]), zoom)
    frame = on((y0, x0, y0 + size, x0 + size), picture, window, now, most)
    for axis, start in enumerate((y0, x0)):
        seen = window[axis] / frame.zoom
        low, high = frame.centre[axis] - seen / 2, frame.centre[axis] + seen / 2
        if seen * (1 - MARGIN) >= picture[axis]:
            assert frame.centre[axis] == pytest.approx(picture[axis] / 2)
        else:
            assert low >= -MARGIN * seen / 2 - 1e-6 * picture[axis]
            assert high <= picture[axis] + MARGIN * seen / 2 + 1e-6 * picture[axis]
        assert low <= start + 1e-6 * picture[axis]
        assert start + size <= high + 1e-6 * picture[axis]
