"""The certificates that stand beside the metrics: which metrics may be shown as scores, and why others not.

They are made by `python -m sora_jax.evaluate certify`, with and without `--camera`, and kept in the package,
so that a score is never shown without the proof of what it sees.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from sora_jax.evaluation.physics.suite_bench import EVERY_METRIC
from sora_jax.evaluation.physics.suite_camera import CAMERA

FOLDER = Path(__file__).parent / "certified"


def failing() -> dict[str, str]:
    """Metric -> the gates that its certificate fails; metrics without a certificate are among them."""
    reasons = {}
    for name in (metric.name for metric in (*EVERY_METRIC, *CAMERA)):
        path = FOLDER / f"{name.replace(' ', '_')}.json"
        if not path.is_file():
            reasons[name] = "no certificate"
            continue
        failed = json.loads(path.read_text())["failing"]
        if failed:
            reasons[name] = f"fails {', '.join(failed)}"
    return reasons


def picture() -> bytes | None:
    """PNG of the corruption x metric matrices, one below another; None before the first was made."""
    paths = sorted(FOLDER.glob("matrix*.png"))
    if not paths:
        return None
    images = [cv2.imread(str(path)) for path in paths]
    if missing := [path for path, image in zip(paths, images, strict=True) if image is None]:
        raise OSError(f"{missing[0]} is no readable PNG: make the certificates anew")
    whole = [image for image in images if image is not None]
    wide = max(image.shape[1] for image in whole)
    padded = [np.pad(i, ((0, 0), (0, wide - i.shape[1]), (0, 0)), constant_values=255) for i in whole]
    done, data = cv2.imencode(".png", np.concatenate(padded))
    if not done:
        raise OSError(f"could not encode {len(paths)} matrices as one PNG")
    return data.tobytes()
