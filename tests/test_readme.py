"""What the README and the experiment pages say can be run exists: modules, flags, configs, files."""

import itertools
import re
import shlex
from pathlib import Path

import pytest

from sora_jax import command, evaluate, export, make_latents, plan, sample, train
from sora_jax.scaling import commands as scaling

ROOT = Path(__file__).parent.parent
MODULES = {
    "sora_jax.train": train,
    "sora_jax.sample": sample,
    "sora_jax.evaluate": evaluate,
    "sora_jax.export": export,
    "sora_jax.make_latents": make_latents,
    "sora_jax.plan": plan,
    "sora_jax.scaling": scaling,
}


def commands() -> list[list[str]]:
    pages = [ROOT / "README.md", *(ROOT / "experiments").glob("*/*.md")]
    text = "\n".join(page.read_text() for page in pages).replace("\\\n", " ")
    found = re.findall(r"python -m (sora_jax\.\w+[^`\n#|]*)", text)
    return [shlex.split(line) for line in found]


def test_the_readme_shows_commands():
    assert len(commands()) >= 8


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words)[:60])
def test_a_command_of_the_readme_is_understood(words, capsys):
    module = MODULES[words[0]]
    with pytest.raises(SystemExit) as stop:
        module.main([*itertools.takewhile(lambda w: not w.startswith("-"), words[1:]), "--help"])
    assert stop.value.code == 0
    known = set(re.findall(r"--\w+", capsys.readouterr().out))
    flags = {w.split("=")[0] for w in words[1:] if w.startswith("--") and not w.startswith(command.OVERRIDE)}
    assert flags <= known, f"{words[0]} does not know {sorted(flags - known)}"
    overrides = [w for w in words if w.startswith(command.OVERRIDE)]
    if "--config" in words:
        command.load_config(words[words.index("--config") + 1], overrides)


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "experiments").glob("*/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", page.read_text()):
            target = link[0] or link[1]
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_make_targets_of_the_readme_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    used = set(re.findall(r"`?make (\w+)`?", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= used <= set(targets)
