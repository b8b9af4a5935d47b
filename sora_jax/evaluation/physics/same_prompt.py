"""Other clips that satisfy an item's prompt: what could have happened where text leaves start and speed open.

The cast (colours, shapes, sizes where they are said) is forced upon the family's own sampler, everything
else is drawn as in the benchmark's world, and a draw is kept if all that the prompt states is true of it
(`facts.agrees`): rejection sampling of the family's clips given the prompt. The world draws its cast first
and independently of places and speeds, so forcing it is conditioning on it.

Differs: a caption's wording is not conditioned on (a relation is more often said of objects at rest than of
moving ones), and an object that the sampler could not place is not made up for: the draw is refused.
"""

from __future__ import annotations

import collections
from typing import cast

from sora_jax import rng
from sora_jax.evaluation.benchmark import Item
from sora_jax.types import SceneState, Shape, SizeWord
from sora_jax.worlds import families, simulate
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.facts import Facts, agrees, facts
from sora_jax.worlds.parse import parse_prompt
from sora_jax.worlds.placing import Draw, Look
from sora_jax.worlds.scene import Family

TRIES = 1500  # draws before no more clips are looked for


def states(item: Item, *, count: int, tries: int = TRIES) -> list[SceneState]:
    """At most `count` states of other clips of the item's family, size and rate that satisfy its prompt.

    Fewer, or none, where `tries` draws give no more or the prompt does not name every colour and shape.

    Raises:
      ValueError: a family without a sampler of single scenes.
    """
    if item.family not in families.FAMILIES:
        raise ValueError(f"family {item.family!r} is not one of {', '.join(families.FAMILIES)}")
    stated = parse_prompt(item.prompt)
    looks = _looks(stated) if stated is not None else None
    if stated is None or looks is None:
        return []
    stream = rng.host(item.seed, "same prompt", item.index)
    found: list[SceneState] = []
    for _ in range(tries):
        if len(found) == count:
            break
        order = stream.permutation(len(looks))  # a family may give its groups parts to play by their order
        draw = Draw(
            rng=stream,
            frames=item.frames,
            height=item.height,
            width=item.width,
            fps=item.fps,
            heldout="exclude",
            cast=tuple(looks[k] for k in order),
        )
        state = simulate.evolve(families.sample(draw, cast(Family, item.family)))
        if agrees(stated, facts(state)):  # before it is drawn: most are refused
            state = state_lib.film(state, height=item.height, width=item.width)[1]
            if agrees(stated, facts(state)):
                found.append(state)
    return found


def _looks(stated: Facts) -> tuple[Look, ...] | None:
    """The looks that a prompt names, equal ones as one group; None if a colour or shape is left open."""
    if any(one.color is None or one.shape is None for one in stated.objects):
        return None
    groups = collections.Counter((one.color, one.shape, one.size) for one in stated.objects)
    return tuple(
        Look(cast(str, color), cast(Shape, shape), cast("SizeWord | None", size), members)
        for (color, shape, size), members in groups.items()
    )
