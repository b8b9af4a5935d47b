from __future__ import annotations

import dataclasses

import numpy as np

from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.scene import Scene
from sora_jax.worlds.simulate import simulate


def make(bodies, position, velocity, **more) -> Scene:
    count = len(bodies)
    settings = {"family": "uniform", "frames": 17, "height": 48, "width": 80, "fps": 12.0} | more
    return Scene(
        bodies=tuple(bodies),
        position=np.array(position, float),
        velocity=np.array(velocity, float),
        angle=np.zeros(count),
        spin=np.zeros(count),
        **settings,
    )


def ball(color="red", size="medium"):
    return scene_lib.body("circle", color, size)


def test_closed_form_is_the_parabola_of_newton_and_pymunk_agrees():
    scene = make([ball()], [(-3, -2)], [(2, 5)], gravity=(0.0, -6.0), family="parabola")
    _, exact = simulate(scene)
    seconds = np.arange(17) / 12
    np.testing.assert_allclose(exact.position[:, 0, 0], -3 + 2 * seconds, rtol=1e-6)
    np.testing.assert_allclose(
        exact.position[:, 0, 1], -2 + 5 * seconds - 3 * seconds**2, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(exact.velocity[:, 0, 1], 5 - 6 * seconds, atol=1e-5)
    _, stepped = simulate(dataclasses.replace(scene, contacts=True))
    # semi-implicit Euler at 240 Hz lags by g t step / 2 = 6 * 1.33 / 480 = 0.017
    np.testing.assert_allclose(stepped.position, exact.position, atol=0.02)


def test_equal_masses_exchange_velocity_when_they_meet_head_on():
    scene = make([ball(), ball("blue")], [(-4, 0), (1, 0)], [(6, 0), (0, 0)], contacts=True)
    _, state = simulate(scene)
    np.testing.assert_allclose(state.velocity[-1], [(0, 0), (6, 0)], atol=1e-3)
    when = (5 - 2 * 1.3) / 6  # seconds until the gap is closed
    (seconds, verb, first, second), *others = state.events
    assert (verb, first, second) == ("hits", 0, 1) and not others
    assert abs(seconds - when) < 0.01
    frame = int(np.argmax(state.contact[:, 0, 1]))
    assert (frame - 1) / 12 <= when <= frame / 12  # touched since the previous frame
    assert np.array_equal(state.contact, state.contact.swapaxes(1, 2)) and state.contact.sum() == 2


def test_a_collision_of_three_keeps_momentum_and_energy():
    bodies = [
        ball(size="large"),
        scene_lib.body("square", "blue", "small"),
        scene_lib.body("bar", "lime", "medium"),
    ]
    scene = make(bodies, [(-4, 0.2), (0, 0), (4, -0.5)], [(6, 0), (0, 0), (-5, 0)], contacts=True, frames=33)
    _, state = simulate(scene)
    mass = np.array([b.mass for b in bodies])[:, None]
    momentum = (mass * state.velocity).sum(1)
    np.testing.assert_allclose(momentum, np.broadcast_to(momentum[0], momentum.shape), atol=1e-4)
    assert state.contact.any() and any(verb == "hits" for _, verb, *_ in state.events)
    spinless = (mass * state.velocity**2).sum((1, 2))
    assert (spinless <= spinless[0] * 1.01).all()  # some of it turns into spin, none appears


def test_a_box_keeps_its_ball_and_names_the_wall():
    half_x, half_y = scene_lib.extent(48, 80)
    assert (half_x, half_y) == (10 * 80 / 48 / 2, 5.0)
    scene = make([ball()], [(half_x - 2, 0)], [(5, 0)], contacts=True, box=True, frames=33)
    _, state = simulate(scene)
    assert (np.abs(state.position[:, 0, 0]) <= half_x - 1.3 + 0.03).all()  # one step deep at most
    assert state.events[0][1:] == ("bounces off the right wall", 0, -1)
    np.testing.assert_allclose(state.velocity[-1, 0], (-5, 0), atol=1e-3)
    assert state.wall_contact[:, 0].sum() == sum("wall" in e[1] for e in state.events)
    assert abs(state.visible - 1).max() < 0.02
