"""Pictures of Minesweeper's cells."""

import numpy as np


def tiles() -> np.ndarray:
    """[11, 16, 16, 3] uint8: unknown, the numbers 0 to 8, an open mine."""
    y, x = np.mgrid[:16, :16]
    rim = (x == 15) | (y == 15)
    pictures = np.full((11, 16, 16, 3), (222, 222, 216), np.uint8)
    pictures[:, rim] = (190, 190, 184)
    pictures[0] = (160, 165, 172)
    pictures[0, (x < 2) | (y < 2)] = (205, 208, 212)
    pictures[0, (x > 13) | (y > 13)] = (112, 116, 122)
    for number, (bits, colour) in enumerate(zip(_DIGITS, _COLOURS, strict=True), start=1):
        sign = np.array([list(row) for row in bits.split()]) == "1"  # [5, 3]
        pictures[number + 1, 3:13, 5:11][sign.repeat(2, axis=0).repeat(2, axis=1)] = colour
    pictures[10] = (205, 60, 50)
    pictures[10, np.hypot(x - 7.5, y - 7.5) < 5] = (30, 30, 34)
    return pictures


_DIGITS = (
    "010 110 010 010 111",
    "110 001 010 100 111",
    "110 001 010 001 110",
    "101 101 111 001 001",
    "111 100 110 001 110",
    "011 100 110 101 010",
    "111 001 010 010 010",
    "010 101 010 101 010",
)
_COLOURS = (
    (40, 70, 200),
    (40, 130, 60),
    (200, 50, 40),
    (30, 30, 120),
    (130, 40, 30),
    (30, 130, 130),
    (40, 40, 40),
    (120, 120, 120),
)
