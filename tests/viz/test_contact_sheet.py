import numpy as np
import pytest

from ssdet_cli.viz import style
from ssdet_cli.viz.contact_sheet import SheetRow, contact_sheet, sheet_columns

COLORS = [*style.class_colors(2), style.STILL]


def row(columns: np.ndarray, shade: int, frozen: np.ndarray, size: tuple[int, int] = (60, 80)) -> SheetRow:
    frames = np.full((len(columns), *size, 3), shade, dtype=np.uint8)
    weights = np.stack([~frozen, np.zeros(len(frozen)), frozen]).astype(float)
    return SheetRow("Volume Freeze", "a note", frames, weights, frozen)


def sheet(rows: list[SheetRow], columns: np.ndarray) -> np.ndarray:
    return contact_sheet(
        rows,
        columns,
        names=["one", "two", "background"],
        colors=COLORS,
        title="Title",
        subtitle="Subtitle",
        column_titles=[f"{column} s" for column in columns],
    )


@pytest.mark.parametrize(("width", "height"), [(426, 240), (320, 240), (136, 240), (960, 240)])
def test_a_sheet_of_five_rows_fits_a_full_hd_screen(width, height):
    columns = sheet_columns(5, width, height, 200)
    rows = [row(columns, 90, np.zeros(200, dtype=bool), (height, width)) for _ in range(5)]
    picture = sheet(rows, columns)
    assert picture.shape[1] == 1920
    assert 600 < picture.shape[0] <= 1080
    assert picture.shape[0] % 2 == 0


@pytest.mark.parametrize("frames", [2, 3, 50, 1000])
def test_columns_are_spread_evenly_over_the_clip(frames):
    columns = sheet_columns(5, 320, 240, frames)
    assert (np.diff(columns) > 0).all()
    assert columns[0] + columns[-1] == pytest.approx(frames - 1, abs=1)
    assert 2 <= len(columns) <= min(frames, 16)


def test_narrow_frames_get_more_columns():
    assert len(sheet_columns(5, 136, 240, 300)) > len(sheet_columns(5, 426, 240, 300))


def test_frozen_frames_wear_ice_and_are_hatched():
    frozen = np.zeros(40, dtype=bool)
    frozen[20:] = True
    columns = sheet_columns(1, 80, 60, 40)
    thawed, icy = (sheet([row(columns, 90, marks)], columns) for marks in (frozen & False, frozen))
    ice = [(picture == style.ICE).all(axis=2) for picture in (thawed, icy)]
    assert ice[0].sum() == 0
    assert ice[1].sum() > 1000
    assert ice[1][:, :1000].sum() < 0.05 * ice[1].sum()


def test_the_strip_is_split_as_the_weights_are():
    frames = np.zeros((4, 60, 80, 3), dtype=np.uint8)
    weights = np.repeat([[0.25], [0.75], [0.0]], 40, axis=1)
    columns = np.array([5, 15, 25, 35])
    picture = sheet([SheetRow("Mix", "", frames, weights, np.zeros(40, dtype=bool))], columns)
    colors = [style.blend(style.PAGE, color, 0.86) for color in COLORS[:2]]
    counts = [(picture[:, 1000] == color).all(axis=1).sum() for color in colors]
    assert counts[1] == pytest.approx(3 * counts[0], abs=3)


def test_a_row_without_a_frame_for_every_column_is_refused():
    columns = np.array([0, 1, 2])
    with pytest.raises(ValueError, match="a frame for each of 3 columns"):
        sheet([row(columns[:2], 10, np.zeros(5, dtype=bool))], columns)
