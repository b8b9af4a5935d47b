"""Each law holds in its clips, to the tolerance that its method has."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sora_jax.worlds.bench import billiards, mechanics
from sora_jax.worlds.bench.source import BenchSource

CASES = 15


def cases(family, seed=43):
    source = BenchSource(family, seed=seed, length=CASES)
    return [source.case(k)[0] for k in range(CASES)]


def test_billiards_keeps_energy_stays_in_the_box_and_never_overlaps():
    for variant in cases("billiards"):
        state = variant.state
        assert len(state.position) >= 128
        mass, radius = (np.array([getattr(b, n) for b in state.bodies]) for n in ("mass", "radius"))
        energy = (mass * (state.velocity.astype(float) ** 2).sum(-1)).sum(-1) / 2
        np.testing.assert_allclose(energy, variant.measures["energy"], rtol=2e-6)  # float32
        assert (np.abs(state.position) <= 5 - radius[:, None] + 1e-5).all()
        gap = np.linalg.norm(state.position[:, :, None] - state.position[:, None], axis=-1)
        near = radius[:, None] + radius
        assert (gap >= near - 1e-5)[:, ~np.eye(len(mass), dtype=bool)].all()
        turned = np.abs(np.diff(state.velocity, axis=0)).max(-1) > 1e-5
        touched = (state.contact.any(-1) | state.wall_contact)[1:]
        assert not (turned & ~touched).any() and touched.sum() >= 6


def test_two_discs_keep_momentum_and_reverse_along_their_line():
    """Against the 1-D formula of elastic impact, mass 1 on mass 4."""
    where, speed = np.array([[-3.0, 0], [0.0, 0]]), np.array([[4.0, 0], [-1.0, 0]])
    _, velocity, impacts = billiards.roll(
        where, speed, np.array([0.5, 1.0]), np.array([1.0, 4.0]), half=(50, 50), frames=40, fps=20
    )
    np.testing.assert_allclose(impacts, [(1.5 / 5, 0, 1)])
    np.testing.assert_allclose(velocity[-1], [[-4.0, 0], [1.0, 0]], atol=1e-12)


def test_billiards_energy_is_kept_to_rounding_over_a_thousand_frames():
    generator = np.random.default_rng(0)
    where = np.array([[-3.0, -3], [3, -3], [0, 0], [-3, 3], [3, 3]])
    radius, speed = np.array([0.5, 0.9, 0.7, 1.1, 0.6]), generator.normal(size=(5, 2)) * 3
    position, velocity, impacts = billiards.roll(
        where, speed, radius, radius**2, half=(5, 5), frames=1000, fps=12.0
    )
    energy = (radius**2 * (velocity**2).sum(-1)).sum(-1)
    np.testing.assert_allclose(energy, energy[0], rtol=1e-11)
    assert len(impacts) > 200 and (np.abs(position) < 5).all()


def test_a_pendulum_keeps_its_energy_and_length():
    for variant in cases("pendulum"):
        state, m = variant.state, variant.measures
        line = state.position[:, 0].astype(float) - state.position[:, 1]
        np.testing.assert_allclose(np.hypot(*line.T), m["length"], rtol=1e-6)
        energy = (state.velocity[:, 0].astype(float) ** 2).sum(-1) / 2 + m["gravity"] * line[:, 1]
        scale = m["gravity"] * m["length"] * (1 - np.cos(m["angle"]))
        np.testing.assert_allclose(energy, energy[0], atol=2e-6 * scale)  # float32
        assert np.ptp(line[:, 0]) > 1 and state.marks[0].kind == "string"


def test_a_swing_is_what_an_adaptive_integrator_of_higher_order_says():
    pull, frames, fps = 3.1, 60, 12.0
    got = mechanics.swing(1.1, -0.3, pull=pull, frames=frames, fps=fps)
    want = solve_ivp(
        lambda _, y: (y[1], -pull * np.sin(y[0])), (0, 5), (1.1, -0.3), method="DOP853",
        t_eval=np.arange(frames) / fps, rtol=1e-12, atol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(got, want.y.T, atol=1e-8)
    energy = got[:, 1] ** 2 / 2 + pull * (1 - np.cos(got[:, 0]))
    np.testing.assert_allclose(energy, energy[0], rtol=1e-7)


def test_a_spring_obeys_hookes_law_and_keeps_its_energy():
    for variant in cases("spring"):
        state, m = variant.state, variant.measures
        axis = int(m["upright"])
        along = state.position[:, 0, axis].astype(float) - m["rest"]
        pace = state.velocity[:, 0, axis].astype(float)
        energy = state.bodies[0].mass * pace**2 / 2 + m["stiffness"] * along**2 / 2
        np.testing.assert_allclose(energy, m["stiffness"] * m["amplitude"] ** 2 / 2, rtol=1e-5)
        force = np.gradient(pace, 1 / 12, edge_order=2)[1:-1] * state.bodies[0].mass
        rate = np.sqrt(m["stiffness"] / state.bodies[0].mass)
        shrink = np.sin(rate / 12) / (rate / 12)  # of a central difference of a cosine
        np.testing.assert_allclose(force, -m["stiffness"] * along[1:-1] * shrink, atol=1e-3)
        assert (np.abs(state.position[:, 0]) < 5).all() and np.ptp(along) > 1
        apart = np.linalg.norm(state.position[:, 0] - state.position[:, 1], axis=-1)
        assert apart.min() > state.bodies[0].radius


def test_friction_takes_the_same_speed_every_second_until_rest():
    for variant in cases("friction"):
        state, slowing = variant.state, variant.measures["deceleration"]
        speed = np.linalg.norm(state.velocity.astype(float), axis=-1)
        for k in range(len(state.bodies)):
            moving = speed[1:, k] > 1e-6
            lost = -np.diff(speed[:, k]) * 12
            np.testing.assert_allclose(lost[moving], slowing, rtol=1e-4)
            assert speed[-1, k] == 0 and 4 < moving.sum() < len(speed) * 0.85
            way = np.linalg.norm(np.diff(state.position[:, k].astype(float), axis=0), axis=-1).sum()
            # the energy lost is the friction's work over the way
            np.testing.assert_allclose(speed[0, k] ** 2 / 2, slowing * way, rtol=1e-4)


@pytest.mark.parametrize("family", ["pendulum", "spring"])
def test_the_string_hangs_on_the_body_from_the_post(family):
    for variant in cases(family):
        (mark,) = variant.state.marks
        assert mark.body == 0 and mark.radius < 0.3  # what tracks count as an object
        np.testing.assert_array_equal(mark.points[0], variant.state.position[0, 1])
