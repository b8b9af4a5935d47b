"""Captions, said from the facts and so true by construction, in several wordings a person would type.

A short caption names the objects and one thing each does; a descriptive one is a sentence or two with sizes,
motions, events, relations and the background. `parse.parse_prompt` reads both back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from sora_jax.worlds.facts import BECOMES, STILL, Facts, ObjectFacts

MOST_BYTES = 250  # of any caption; with the end token this stays under `source.TEXT_BOUND`
USUAL_BYTES = 200  # sentences that can be missed are, beyond this
NUMBER = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
SPEED_WORDS = {"slow": ("slowly",), "fast": ("quickly", "fast")}
RELATION_WORDS = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "above": ("above",),
    "below": ("below",),
}
HIT_WORDS = (("hits", "hitting"), ("bumps into", "bumping into"), ("collides with", "colliding with"))
BECOME_WORDS = (("turns into", "turning into"), ("becomes", "becoming"), ("changes into", "changing into"))
BACKGROUNDS = ("The background is plain white.", "Plain white background.", "On a plain white background.")


@dataclasses.dataclass(frozen=True)
class _Group:
    """Objects of which the same is said: their numbers, and what one of them is."""

    members: tuple[int, ...]
    one: ObjectFacts

    @property
    def plural(self) -> bool:
        return len(self.members) > 1


class _Voice:
    """Picks among wordings with the clip's own stream."""

    def __init__(self, rng: np.random.Generator):
        self._rng = rng

    def of(self, options: Sequence):
        return options[int(self._rng.random() * len(options))]

    def chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)


def captions(facts: Facts, rng: np.random.Generator) -> dict[str, str]:
    """The "short" and "descriptive" captions of a clip; at most `MOST_BYTES` ASCII bytes each."""
    voice = _Voice(rng)
    return {"short": _short(facts, voice), "descriptive": _descriptive(facts, voice)}


def shot_captions(
    shots: Sequence[tuple[float, Facts]], rng: np.random.Generator
) -> dict[str, tuple[tuple[float, str], ...]]:
    """The captions of every shot, each as if it stood alone: phrasing -> ((seconds, caption), ...).

    Together they stay within `MOST_BYTES`, so a shot that wants more words for it has a short caption twice.
    """
    voice = _Voice(rng)
    room = MOST_BYTES // len(shots) - 2
    said: dict[str, list[tuple[float, str]]] = {"short": [], "descriptive": []}
    for start, facts in shots:
        said["short"].append((start, _short(facts, voice)))
        long = _descriptive(facts, voice, usual=room)
        said["descriptive"].append((start, long if len(long) <= room else _short(facts, voice)))
    return {phrasing: tuple(timed) for phrasing, timed in said.items()}


def _groups(facts: Facts) -> list[_Group]:
    """Objects gathered by what is said of each: looks, motion, and events without a partner."""
    actors = {k for verb, i, j in facts.events if j >= 0 for k in (i, j)}
    solo = {i: verb for verb, i, j in facts.events if j < 0}
    gathered: dict[object, list[int]] = {}
    for k, one in enumerate(facts.objects):
        label = (one, k) if k in actors else (one, solo.get(k))
        gathered.setdefault(label, []).append(k)
    return [_Group(tuple(members), facts.objects[members[0]]) for members in gathered.values()]


def _noun(group: _Group, *, size: bool, definite: bool = False) -> str:
    """ "a large red circle", "two blue squares", "the green bar"."""
    words = [group.one.size if size else None, group.one.color, group.one.shape]
    name = " ".join(w for w in words if w)
    if group.plural:
        number = NUMBER[len(group.members)]
        return f"the {number} {name}s" if definite else f"{number} {name}s"
    if definite:
        return f"the {name}"
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _list(parts: Sequence[str]) -> str:
    if len(parts) < 3:
        return " and ".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]


def _direction(word: str, voice: _Voice) -> str:
    if word in ("left", "right"):
        return voice.of((word, word, f"to the {word}"))
    if word in ("up", "down"):
        return voice.of((word, word, f"{word}ward"))
    return word


def _motion(group: _Group, voice: _Voice, *, finite: bool) -> str | None:
    """ "moving left slowly" / "moves left slowly"; "at rest"; None where nothing can be said."""
    one = group.one
    be = "are" if group.plural else "is"
    if one.direction is None:
        return None
    if one.direction == STILL:
        return f"{be} {voice.of(('at rest', 'still'))}" if finite else voice.of(("at rest", "standing still"))
    if finite:
        verb = voice.of(("move", "travel") if group.plural else ("moves", "travels"))
    else:
        verb = "moving"
    words = [verb, _direction(one.direction, voice)]
    if one.speed in SPEED_WORDS and voice.chance(0.6):
        words.insert(voice.of((1, 2)), voice.of(SPEED_WORDS[one.speed]))
    return " ".join(words)


def _event(group: _Group, verb: str, voice: _Voice, *, finite: bool) -> str:
    """An event without a partner: "bounces off the left wall" / "bouncing off the left wall"."""
    plural = group.plural
    if verb == "falls":
        return voice.of(("fall", "fall down") if plural else ("falls", "falls down")) if finite else "falling"
    if verb.startswith("is thrown "):
        how = verb.removeprefix("is ")
        return f"{'are' if plural else 'is'} {how}" if finite else how
    if verb.startswith("leaves "):
        side = verb.removeprefix("leaves ").removesuffix(" and comes back")
        back = voice.of((("come back", "comes back", "coming back"), ("return", "returns", "returning")))
        leave = ("leave", "leaves", "leaving")
        form = (0 if plural else 1) if finite else 2
        return f"{leave[form]} {side} and {back[form]}"
    where = verb.removeprefix("bounces ")
    return f"{'bounce' if plural else 'bounces'} {where}" if finite else f"bouncing {where}"


def _again(group: _Group, verb: str, before: str, voice: _Voice) -> str:
    """A second event in the same breath: "bounces off the floor", or "off the floor" after another bounce."""
    if before.startswith("bounces"):
        return verb.removeprefix("bounces ")
    return _event(group, verb, voice, finite=True)


def _short(facts: Facts, voice: _Voice) -> str:
    groups = _groups(facts)
    home = {k: g for g in groups for k in g.members}
    size = voice.chance(0.5) and len(groups) < 3
    finite = voice.chance(0.35)

    def noun(group: _Group) -> str:
        return _noun(group, size=size)

    if became := _becoming(facts, home, voice, noun, finite=finite):
        return became
    hit = next(((i, j) for verb, i, j in facts.events if verb == "hits"), None)
    if hit:
        verb = voice.of(HIT_WORDS)[0 if finite else 1]
        first, second = home[hit[0]], home[hit[1]]
        rest = [noun(g) for g in groups if g not in (first, second)]
        hits = f"{noun(first)} {verb} {noun(second)}"
        return f"{hits}, and {_list(rest)}" if rest else hits  # the comma ends what is hit
    if not facts.events and facts.relations and len(groups) > 1 and voice.chance(0.6):
        related = _relation_phrase(facts, groups, home, voice, noun)
        if related:
            return related
    said: dict[str, list[str]] = {}
    bare = []
    for group in groups:
        verbs = [v for v, i, _ in facts.events if i in group.members]
        told = [v for v in verbs if v.startswith(("bounces", "leaves"))] or verbs
        verb = told[0] if told else None
        if verb:
            action = _event(group, verb, voice, finite=finite and len(groups) == 1)
        else:
            action = _motion(group, voice, finite=False)
        if action is None:
            bare.append(noun(group))
        else:
            said.setdefault(action, []).append(noun(group))
    clauses = [f"{_list(nouns)} {action}" for action, nouns in said.items()]
    return _list([*clauses, *bare]) if len(clauses) + len(bare) < 3 else ", ".join([*clauses, *bare])


def _becoming(
    facts: Facts, home: dict[int, _Group], voice: _Voice, noun: Callable[[_Group], str], *, finite: bool
) -> str | None:
    """ "a red circle turns into a blue square", where one does."""
    for verb, i, j in facts.events:
        if verb == BECOMES:
            return f"{noun(home[i])} {voice.of(BECOME_WORDS)[0 if finite else 1]} {noun(home[j])}"
    return None


def _pairs(facts: Facts, home: dict[int, _Group]) -> list[tuple[_Group, str, _Group]]:
    """Relations between groups that hold for all their members, each pair of groups once in each order."""
    found, known = [], set(facts.relations)
    for i, word, j in facts.relations:
        a, b = home[i], home[j]
        entry = (a, word, b)
        if a is b or entry in found or len(b.members) > 1:
            continue
        if all((k, word, m) in known for k in a.members for m in b.members):
            found.append(entry)
    return found


def _relation_phrase(
    facts: Facts, groups: list[_Group], home: dict[int, _Group], voice: _Voice, noun: Callable[[_Group], str]
) -> str | None:
    pairs = _pairs(facts, home)
    if not pairs:
        return None
    a, word, b = voice.of(pairs)
    motion = None
    if a.one.direction in ("left", "right") and word in ("above", "below"):
        motion = _motion(a, voice, finite=False)
    elif a.one.direction not in (None, STILL):
        return None  # "moving up to the left of": two readings
    first = f"{noun(a)} {motion}" if motion else noun(a)
    rest = [noun(g) for g in groups if g not in (a, b)]
    related = f"{first} {voice.of(RELATION_WORDS[word])} {noun(b)}"
    return f"{related}, and {_list(rest)}" if rest else related  # the comma ends the relation


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _descriptive(facts: Facts, voice: _Voice, *, usual: int = USUAL_BYTES) -> str:
    """Sentences; those that can be missed are, beyond `usual` bytes."""
    groups = _groups(facts)
    home = {k: g for g in groups for k in g.members}

    def again(group: _Group) -> str:
        return _noun(group, size=False, definite=True)

    opening, bare = [], []
    became = _becoming(facts, home, voice, lambda group: _noun(group, size=True), finite=True)
    if became:
        opening.append(became)
    for group in [] if became else groups:
        noun = _noun(group, size=True)
        motion = _motion(group, voice, finite=True)
        (opening.append(f"{noun} {motion}") if motion else bare.append(noun))
    solo: dict[_Group, list[str]] = {}
    sentences = []
    met: set[frozenset[int]] = set()
    for verb, i, j in facts.events:
        if j < 0:
            solo.setdefault(home[i], []).append(verb)
        elif verb != BECOMES and frozenset((i, j)) not in met:
            met.add(frozenset((i, j)))
            sentences.append(f"{again(home[i])} {voice.of(HIT_WORDS)[0]} {again(home[j])}")
    for group, verbs in solo.items():
        verbs = list(dict.fromkeys(verbs))[:2]
        phrase = _event(group, verbs[0], voice, finite=True)
        if len(verbs) > 1:
            phrase += " and then " + _again(group, verbs[1], verbs[0], voice)
        if _noun(group, size=True) in bare:
            bare.remove(_noun(group, size=True))
            opening.append(f"{_noun(group, size=True)} {phrase}")
        else:
            sentences.append(f"{again(group)} {phrase}")
    if bare:
        nouns = _list(bare)
        opening.append(
            nouns if not opening else f"there {'is' if nouns.startswith('a') else 'are'} also {nouns}"
        )
    parts = [_sentence(text) for text in opening]
    parts += list(dict.fromkeys(_sentence(text) for text in sentences))[:3]
    seen: set[frozenset[_Group]] = set()
    for a, word, b in _pairs(facts, home):
        if frozenset((a, b)) not in seen and len(seen) < 2:
            seen.add(frozenset((a, b)))
            be = "are" if a.plural else "is"
            parts.append(_sentence(f"{again(a)} {be} {voice.of(RELATION_WORDS[word])} {again(b)}"))
    required = len(opening)
    background = voice.of(BACKGROUNDS)
    while len(" ".join([*parts, background])) > usual and len(parts) > required:
        parts.pop()
    text = " ".join([*parts, background])
    return text if len(text) <= MOST_BYTES else " ".join(parts)[:MOST_BYTES].rsplit(".", 1)[0] + "."
