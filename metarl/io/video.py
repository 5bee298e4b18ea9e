"""Moving pictures of an episode."""

import pathlib

import numpy as np


def enlarge(frames: np.ndarray, side: int = 256) -> np.ndarray:
    """Repeats pixels so that the longer side has at least `side`, and both are whole multiples."""
    factor = -(-side // max(frames.shape[1:3]))
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def write_gif(
    frames: np.ndarray,
    path: pathlib.Path,
    *,
    fps: float = 12.5,
    side: int = 256,
    comment: str = "",
) -> pathlib.Path:
    """Writes an endless GIF whose last frame stays for a second.

    Args:
      frames: [T, H, W, 3] uint8.
      path: the file; replaced if it exists.
      fps: frames a second, at most 50: GIF counts in hundredths and viewers slow down faster ones.
      side: small frames are enlarged until their longer side has this many pixels.
      comment: kept in the file, for `comment_of`.

    Raises:
      ValueError: frames of another shape or type, or a rate outside (0, 50].
    """
    from PIL import Image

    if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames) or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], got {frames.dtype}{frames.shape}")
    if not 0 < fps <= 50:
        raise ValueError(f"a GIF shows more than 0 and at most 50 frames a second, not {fps}")
    images = [Image.fromarray(frame) for frame in enlarge(frames, side)]
    duration = [round(100 / fps) * 10] * (len(images) - 1) + [1000]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    first, *others = images
    told = {"duration": duration, "loop": 0, "comment": comment.encode()}
    first.save(temporary, "GIF", save_all=True, append_images=others, **told)
    temporary.replace(path)
    return path


def comment_of(path: pathlib.Path) -> str:
    """The comment of a GIF; empty where there is none, or no GIF."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.info.get("comment", b"").decode()
    except (OSError, ValueError):
        return ""
