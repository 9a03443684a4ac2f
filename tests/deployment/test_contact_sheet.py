"""Which images a contact sheet shows, in which order, and what is drawn of them."""

import numpy as np
import pytest
from PIL import ImageDraw

from sweep.deployment import contact_sheet
from sweep.deployment.contact_sheet import GAP, LINE, SIDE, TITLE, ContactSheet

ACROSS, DOWN = SIDE + GAP, SIDE + 4 * LINE + GAP


def place(number: int, columns: int = 10) -> tuple[int, int]:
    """The middle of the picture at a place of the sheet."""
    left, top = GAP + number % columns * ACROSS, TITLE + number // columns * DOWN
    return left + SIDE // 2, top + SIDE // 2


def grey(level: float) -> np.ndarray:
    return np.full((8, 8, 1), level)


def test_those_of_highest_score_are_kept_and_stand_in_its_order():
    scores = np.random.default_rng(0).permutation(200) / 200
    sheet = ContactSheet(0.0, 1.0)
    for number, score in enumerate(scores):
        if sheet.wants(score):
            sheet.add(number, score, grey(score), ["caption"])
    assert len(sheet) == 60
    drawn = sheet.draw("title")
    assert drawn.size == (10 * ACROSS + GAP, TITLE + 6 * DOWN + GAP)
    levels = [drawn.getpixel(place(number))[0] for number in range(60)]
    np.testing.assert_array_equal(levels, np.rint(np.sort(scores)[::-1][:60] * 255))


def test_of_equal_scores_the_first_come_first():
    sheet = ContactSheet(0.0, 255.0)
    for number in range(100):
        sheet.add(number, 0.5, grey(number), [])
    drawn = sheet.draw("title")
    assert [drawn.getpixel(place(number))[0] for number in range(60)] == list(range(60))


def test_captions_and_title_are_drawn(monkeypatch):
    texts = []
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda pen, at, text, *rest: texts.append((at, text))
    )
    sheet = ContactSheet()
    sheet.add(3, 0.25, grey(0.0), ["3 a_very_long_name_of_a_file.png", "B: 1", "B': 2", "score"])
    sheet.draw("photos: 1 of 9 images are flagged")
    assert [text for _, text in texts] == [
        "photos: 1 of 9 images are flagged", "3 a_very_long_name_", "B: 1", "B': 2", "score",
    ]  # fmt: skip
    below = [at[1] - TITLE - SIDE for at, _ in texts[1:]]
    assert below == [2, 2 + LINE, 2 + 2 * LINE, 2 + 3 * LINE]


def test_no_image_gives_a_sheet_that_says_so():
    assert ContactSheet().draw("0 of 9 images are flagged").size == (5 * ACROSS + GAP, TITLE + GAP)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((32, 32, 3), (128, 128)), ((55, 47, 3), (94, 110)), ((1, 128, 1), (128, 1)),
     ((512, 256, 4), (64, 128)), ((100, 20, 2), (20, 100)), ((3, 9000, 3), (128, 1))],
)  # fmt: skip
def test_images_are_brought_to_a_size_that_can_be_seen(shape, size):
    picture = ContactSheet()._thumbnail(np.random.default_rng(0).random(shape))
    assert picture.size == size


def test_pixels_are_drawn_as_bright_as_they_are():
    pixels = np.zeros((2, 2, 3))
    pixels[0, 1], pixels[1, 0], pixels[1, 1] = (1, 0, 0), (0, -1, 9), (0.5, 0.5, 0.5)
    picture = ContactSheet(0.0, 1.0)._thumbnail(pixels)
    corners = [picture.getpixel(at) for at in ((0, 0), (127, 0), (0, 127), (127, 127))]
    assert corners == [(0, 0, 0), (255, 0, 0), (0, 0, 255), (128, 128, 128)]
    spread = ContactSheet()._thumbnail(np.array([[[-3.0], [5.0]]]))
    assert [spread.getpixel(at)[0] for at in ((0, 0), (127, 0))] == [0, 255]
    assert contact_sheet.MOST == 60
