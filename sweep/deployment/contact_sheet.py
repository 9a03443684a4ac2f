"""A contact sheet: the flagged images of highest score on one page, each with what was said."""

import heapq
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

MOST = 60  # images on a sheet
COLUMNS = 10
SIDE = 128  # pixels that an image may take on either side
GAP = 12
TEXT, LINE = 12, 15  # pixels: height of the letters, and of a line
CAPTION_LINES = 4
TITLE = 34  # pixels
LETTERS = 19  # of a caption's line
BACKGROUND, INK = "white", "black"


@dataclass(order=True)
class _Entry:
    score: float
    earlier: int  # of equal scores the first goes first
    caption: Sequence[str] = field(compare=False)
    picture: Image.Image = field(compare=False)


class ContactSheet:
    """Takes images one by one and keeps those of highest score.

    low, high: the pixels that are drawn black and white; None: those of each image.
    """

    def __init__(self, low: float | None = None, high: float | None = None) -> None:
        self._low, self._high = low, high
        self._entries: list[_Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def wants(self, score: float) -> bool:
        """Whether an image of that score would be kept."""
        return len(self._entries) < MOST or score > self._entries[0].score

    def add(self, number: int, score: float, pixels: NDArray, caption: Sequence[str]) -> None:
        """Keep an image, (height, width, channels), unless others have higher scores."""
        entry = _Entry(score, -number, caption, self._thumbnail(pixels))
        if len(self._entries) < MOST:
            heapq.heappush(self._entries, entry)
        else:
            heapq.heappushpop(self._entries, entry)

    def draw(self, title: str) -> Image.Image:
        """The sheet, highest score first."""
        entries = sorted(self._entries, reverse=True)
        columns = COLUMNS if len(entries) > COLUMNS else max(len(entries), 5)
        rows = -(-len(entries) // columns)
        across, down = SIDE + GAP, SIDE + CAPTION_LINES * LINE + GAP
        size = (columns * across + GAP, TITLE + rows * down + GAP)
        sheet = Image.new("RGB", size, BACKGROUND)
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
        width = (size[0] - 2 * GAP) // 7  # letters that a line holds
        pen.text((GAP, GAP), textwrap.shorten(title, width, placeholder=" ..."), INK, font)
        for place, entry in enumerate(entries):
            left, top = GAP + place % columns * across, TITLE + place // columns * down
            picture = entry.picture
            sheet.paste(picture, (left, top + (SIDE - picture.height)))
            for line, text in enumerate(entry.caption):
                pen.text((left, top + SIDE + 2 + line * LINE), text[:LETTERS], INK, font)
        return sheet

    def save(self, path: Path, title: str) -> None:
        """Write the sheet as PNG."""
        self.draw(title).save(path, format="PNG")

    def _thumbnail(self, pixels: NDArray) -> Image.Image:
        """An image at most `SIDE` on a side; small ones are made larger, each pixel a square."""
        low = float(pixels.min()) if self._low is None else self._low
        high = float(pixels.max()) if self._high is None else self._high
        levels = np.clip((pixels - low) / max(high - low, 1e-9), 0, 1) * 255
        colours = 3 if levels.shape[-1] >= 3 else 1
        drawn = np.rint(levels[..., :colours]).astype(np.uint8)
        picture = Image.fromarray(drawn[..., 0] if colours == 1 else drawn).convert("RGB")
        height, width = pixels.shape[:2]
        if max(height, width) > SIDE:
            picture.thumbnail((SIDE, SIDE))
            return picture
        times = SIDE // max(height, width)
        return picture.resize((width * times, height * times), Image.Resampling.NEAREST)
