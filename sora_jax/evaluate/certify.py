"""Writes the certificate of every physics metric: what it sees, and which gates it passes.

With --camera: of the camera's metrics (rotation, translation, travel, sampson, warp, coherence), over a
textured 3-D room, which needs MuJoCo and an off-screen OpenGL.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sora_jax import build, command
from sora_jax.evaluation.physics import certificate, certificate_camera, suite_camera
from sora_jax.worlds import gl


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate certify`."""
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder of a JSON per metric and matrix.png (with --camera: matrix_camera.png)",
    )
    parser.add_argument("--camera", action="store_true", help="certify the camera's metrics, in the 3-D room")
    parser.add_argument(
        "--clips",
        type=int,
        default=500,
        help="of each family; 3 s of one core each and more (with --camera: 20 s at a side of 96)",
    )
    parser.add_argument("--frames", type=int, default=17, help="the benchmark's own families have theirs")
    parser.add_argument("--side", type=int, default=128, help="height and width, pixels")
    parser.add_argument("--seed", type=int, default=2028, help="of the worlds")
    parser.add_argument(
        "--families",
        nargs="+",
        choices=(*certificate.FAMILIES, *suite_camera.FAMILIES),
        metavar="FAMILY",
        help="of worlds, whose metrics are certified, by default all of: "
        f"{', '.join(certificate.FAMILIES)}; with --camera: {', '.join(suite_camera.FAMILIES)}",
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="processes, with --camera and without --checkpoint"
    )
    parser.add_argument("--checkpoint", help="publish the ceiling through this model's autoencoder as well")


def run(options: argparse.Namespace) -> int:
    """Writes them; 0 if every metric is certified, else 1."""
    if options.clips < certificate.LEAST_CLIPS:
        raise command.UsageError(f"--clips {options.clips}: give at least {certificate.LEAST_CLIPS}")
    if options.workers < 1 or (options.workers > 1 and (options.checkpoint or not options.camera)):
        raise command.UsageError(
            f"--workers {options.workers}: give 1, or more only with --camera and without --checkpoint"
        )
    made = certificate_camera if options.camera else certificate
    known = suite_camera.FAMILIES if options.camera else certificate.FAMILIES
    families = options.families or known
    if wrong := [family for family in families if family not in known]:
        without = "with" if options.camera else "without"
        raise command.UsageError(f"--families {wrong[0]}: {without} --camera use {', '.join(known)}")
    with command.checking_usage():
        frozen = build.load_autoencoder(options.checkpoint) if options.checkpoint else None
    try:
        found = made.run(
            options.out,
            options.clips,
            seed=options.seed,
            frames=options.frames,
            side=options.side,
            families=families,
            autoencoder=frozen,
            **({"workers": options.workers} if options.camera else {}),
        )
    except gl.No3DError as error:
        raise command.UsageError(str(error)) from error
    passed = sum(one["certified"] for one in found.values())
    print(f"{passed} of {len(found)} metrics are certified; wrote {options.out}")
    return 0 if passed == len(found) else 1
