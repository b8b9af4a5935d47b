"""Reads facts back out of words: every caption of the grammar, and simple prompts that a person types.

A sentence is taken as noun phrases with text between them. Text that is no mere connector is a predicate; it
belongs to the noun phrases before it, back to the last predicate ("a red circle and a blue square moving
left": both move), and if it ends in a relation, "hits" or "turns into" the next noun phrase is its object.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.facts import BECOMES, STILL, Facts, ObjectFacts

NUMBERS = {"a": 1, "an": 1, "one": 1, "another": 1, "two": 2, "three": 3, "four": 4, "five": 5}
NUMBERS |= {str(k): k for k in range(1, 6)}
SHAPE_WORDS = {"circle": "circle", "ball": "circle", "disc": "circle", "disk": "circle", "square": "square"}
SHAPE_WORDS |= {"triangle": "triangle", "bar": "bar", "rectangle": "bar"}
SIZE_WORDS = {"small": "small", "little": "small", "tiny": "small", "medium": "medium"}
SIZE_WORDS |= {"large": "large", "big": "large", "huge": "large"}
COLOR_WORDS = {name: name for name in scene_lib.COLORS} | {"grey": "gray"}
SPEED_WORDS = {"slow": "slow", "slowly": "slow", "fast": "fast", "quick": "fast", "quickly": "fast"}
SPEED_WORDS |= {"rapidly": "fast"}
WALL_WORDS = {
    "left wall": "left wall",
    "right wall": "right wall",
    "floor": "floor",
    "ground": "floor",
    "bottom": "floor",
    "bottom wall": "floor",
    "ceiling": "ceiling",
    "top": "ceiling",
    "top wall": "ceiling",
}


def _any(words) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_NOUN = re.compile(
    rf"\b(?:(?P<the>the)\s+)?(?:(?P<number>{_any(NUMBERS)})\s+)?"
    rf"(?:(?P<speed>{_any(SPEED_WORDS)})(?:[\s-]moving)?\s+)?"
    rf"(?:(?P<size>{_any(SIZE_WORDS)})(?:-sized)?,?\s+)?(?:(?P<color>{_any(COLOR_WORDS)})\s+)?"
    rf"(?P<shape>{_any(SHAPE_WORDS)})(?P<plural>s)?\b"
)
_CONNECTOR = re.compile(r"[\s,]*(?:(?:and|with|plus)?[\s,]*(?:also)?)[\s,]*")
_RELATION = re.compile(
    r"\b(?:(?:to|on) the )?(?:(?P<side>left|right)(?: side)? of|(?P<above>above|over)"
    r"|(?P<below>below|under|beneath|underneath))\s*$"
)
_HIT = re.compile(
    r"\b(?:hits?|hitting|bump(?:s|ing)? into|collid(?:es?|ing) with|strik(?:es?|ing)|crash(?:es|ing)? into)"
    r"\s*$"
)
_BECOME = re.compile(
    r"\b(?:(?:turn(?:s|ing)?|chang(?:es?|ing)|morph(?:s|ing)?|transform(?:s|ing)?) into|becom(?:es?|ing))\s*$"
)
_WALL = rf"(?:off|against|from) (?:of )?the ({_any(WALL_WORDS)})"
_BOUNCE = re.compile(rf"\bbounc(?:es?|ing) {_WALL}(?:,? and then (?:bounces? )?{_WALL})?")
_VERTICAL, _SIDE = r"(up|down)(?:wards?)?", r"(?:to(?:wards?)? the )?(left|right)(?:wards?)?"
_DIRECTION = rf"(?:{_VERTICAL}(?:\s+and|,)?[\s-]+{_SIDE}|{_VERTICAL}|{_SIDE})(?!\w)"
_THROW = re.compile(rf"\b(?:thrown|tossed|throws?) {_DIRECTION}")
_FALL = re.compile(r"\b(?:falls?|falling|drops?|dropping|dropped)(?: down(?:wards?)?)?\b")
_LEAVE = re.compile(
    r"\b(?:leav(?:es?|ing)|exit(?:s|ing)?)(?: the frame)? (on the (?:left|right)|at the (?:top|bottom)),?"
    r" and (?:comes? back|coming back|returns?|returning)\b"
)
_STILL = re.compile(r"\b(?:at rest|still|stationary|resting|motionless|not moving)\b")
_HEADING = re.compile(rf"\b{_DIRECTION}")
_ORIGIN = re.compile(  # where it is or comes from, which is not where it goes
    r"\bon the (?:left|right)(?! (?:side )?of)"
    r"|\b(?:from (?:the )?)?(?:left|right) (?=to (?:the )?(?:left|right))"
)
_SPEED = re.compile(rf"\b({_any(SPEED_WORDS)})\b")


class _Story:
    """What has been read so far."""

    def __init__(self):
        self.objects: list[ObjectFacts] = []
        self.relations: list[tuple[int, str, int]] = []
        self.events: list[tuple[str, int, int]] = []
        self.counted = True

    def refer(self, noun: re.Match) -> list[int]:
        """The objects of a noun phrase: known ones after "the", new ones otherwise."""
        said = {
            "color": COLOR_WORDS.get(noun["color"]),
            "shape": SHAPE_WORDS[noun["shape"]],
            "size": SIZE_WORDS.get(noun["size"]),
            "speed": SPEED_WORDS.get(noun["speed"]),
        }
        if noun["the"]:
            same = [
                k
                for k, one in enumerate(self.objects)
                if all(word is None or getattr(one, name) == word for name, word in said.items())
            ]
            if same:
                return same
        number = NUMBERS.get(noun["number"], 1)
        if noun["plural"] and not noun["number"]:
            self.counted = False
        self.objects += [ObjectFacts(**said)] * number
        return list(range(len(self.objects) - number, len(self.objects)))

    def state(self, members: list[int], **said: str | None) -> None:
        said = {name: word for name, word in said.items() if word is not None}
        for k in members:
            self.objects[k] = dataclasses.replace(self.objects[k], **said)


def parse_prompt(text: str) -> Facts | None:
    """The facts a text states; what it does not state is None. None if it names no object.

    Args:
      text: English; colours of `scene.PALETTE`, shapes, sizes, counts to five, eight directions, two speeds,
        four relations, hits, bounces, falls, throws, leaving to come back, and turning into something else.
    """
    story = _Story()
    for sentence in re.split(r"[.;!?]+", text.lower()):
        _read(sentence.strip(), story)
    if not story.objects:
        return None
    became = {j for verb, i, j in story.events if verb == BECOMES and j > i}
    return Facts(
        objects=tuple(story.objects),
        relations=tuple(story.relations),
        events=tuple(story.events),
        count=len(story.objects) - len(became) if story.counted else None,
    )


def _read(sentence: str, story: _Story) -> None:
    nouns = list(_NOUN.finditer(sentence))
    ends = [*(noun.start() for noun in nouns[1:]), len(sentence)]
    pending: list[int] = []
    act = None  # what the noun phrase before waits to do to the next one
    for noun, end in zip(nouns, ends, strict=False):  # without nouns there is one end too many
        members = story.refer(noun)
        is_object = act is not None
        if act is not None:
            act(members)
        text = sentence[noun.end() : end]
        if _CONNECTOR.fullmatch(text):
            pending, act = ([] if is_object else pending + members), None
        else:
            act = _predicate(text, members if is_object else pending + members, story)
            pending = []


def _predicate(text: str, subjects: list[int], story: _Story) -> Callable[[list[int]], None] | None:
    """Record what the text says of its subjects; returns what is to be done with the next noun phrase."""
    leave = _LEAVE.search(text)
    text = _ORIGIN.sub("", text.replace(leave[0], " ", 1) if leave else text)
    if re.search(r"\b(?:both|all)\b", text):
        subjects = list(range(len(story.objects)))
    relation, hit, become = _RELATION.search(text), _HIT.search(text), _BECOME.search(text)
    if relation:
        word = f"{relation['side']} of" if relation["side"] else "above" if relation["above"] else "below"
        text = text[: relation.start()]
    elif met := hit or become:
        text = text[: met.start()]

    def act(objects: list[int]) -> None:
        if relation:
            story.relations.extend((i, word, j) for i in subjects for j in objects)
        else:
            story.events.extend(("hits" if hit else BECOMES, i, j) for i in subjects for j in objects)

    def event(verb: str) -> None:
        story.events.extend((verb, i, -1) for i in subjects)

    if throw := _THROW.search(text):
        event(f"is thrown {_compass(throw)}")
        text = text.replace(throw[0], " ", 1)
    if leave:
        event(f"leaves {leave[1]} and comes back")
    if fall := _FALL.search(text):
        event("falls")
        text = text.replace(fall[0], " ", 1)
    if bounce := _BOUNCE.search(text):
        for wall in filter(None, bounce.groups()):
            event(f"bounces off the {WALL_WORDS[wall]}")
        text = text.replace(bounce[0], " ", 1)
    speed = _SPEED.search(text)
    if speed:
        text = re.sub(r"\s+", " ", text.replace(speed[0], "", 1))
    if _STILL.search(text):
        story.state(subjects, direction=STILL)
    elif heading := _HEADING.search(text):
        story.state(subjects, direction=_compass(heading))
    if speed:
        story.state(subjects, speed=SPEED_WORDS[speed[1]])
    return act if relation or hit or become else None


def _compass(found: re.Match) -> str:
    vertical, side, up, sideways = found.groups()
    return f"{vertical} and to the {side}" if vertical else up or sideways
