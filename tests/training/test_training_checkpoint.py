"""A checkpoint is restored exactly, or not at all with an error that names what is wrong."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_training as toy

from sora_jax import rng
from sora_jax.training import checkpoint, state, stored

CONFIG = {"seed": 7, "model": {"width": 32, "patch": (1, 2, 2)}, "optimizer": {"total_steps": 10}}


@pytest.fixture(scope="module")
def current():
    return state.init_state(toy.init_params, toy.make_optimizer(100), key=rng.key(0))


@pytest.fixture(scope="module")
def abstract():
    return state.abstract_state(toy.init_params, toy.make_optimizer(100))


@pytest.fixture
def saved(tmp_path, current):
    with checkpoint.Checkpointer(tmp_path, config=CONFIG, commit="abc", manifest_hash="1f") as checkpointer:
        checkpointer.save(current)
    return tmp_path


def reopen(path, *, config=CONFIG, manifest_hash="1f", **options):
    return checkpoint.Checkpointer(path, config=config, manifest_hash=manifest_hash, **options)


def test_what_stands_beside_the_arrays(saved):
    meta = checkpoint.read_meta(saved)
    assert meta["config"]["model"] == {"width": 32, "patch": [1, 2, 2]}
    assert (meta["commit"], meta["manifest_hash"], meta["versions"]["jax"]) == ("abc", "1f", jax.__version__)


def test_parameters_alone(saved, current):
    found = checkpoint.read_params(saved)
    jax.tree.map(np.testing.assert_array_equal, found, jax.device_get(current.ema))
    assert isinstance(found["head"]["kernel"], np.ndarray)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), current.params)
    found = checkpoint.read_params(saved, which="params", abstract=shapes)
    jax.tree.map(np.testing.assert_array_equal, found, jax.device_get(current.params))


def test_saving_a_step_twice_keeps_the_first(saved, current, abstract):
    with reopen(saved) as checkpointer:
        checkpointer.save(current._replace(params=jax.tree.map(jnp.zeros_like, current.params)))
        checkpointer.wait()
        restored = checkpointer.restore(abstract)
    np.testing.assert_array_equal(restored.params["head"]["kernel"], current.params["head"]["kernel"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"width": 64, "patch": (1, 2, 2)}}, r"model\.width: 32 there, 64 here"),
        ({"model": {"width": 32}}, r"model\.patch: \[1, 2, 2\] there, '\(absent\)' here"),
        ({"extra": 1}, r"extra: '\(absent\)' there, 1 here"),
    ],
)
def test_changed_configuration_is_named(saved, abstract, change, message):
    with (
        reopen(saved, config={**CONFIG, **change}) as checkpointer,
        pytest.raises(checkpoint.CheckpointError, match=message),
    ):
        checkpointer.restore(abstract)


def test_changed_manifest_is_named(saved, abstract):
    with (
        reopen(saved, manifest_hash="2e") as checkpointer,
        pytest.raises(checkpoint.CheckpointError, match="manifest_hash: '1f' there, '2e' here"),
    ):
        checkpointer.restore(abstract)


def test_length_of_training_may_change(saved, abstract):
    with reopen(saved, config={**CONFIG, "optimizer": {"total_steps": 99}}) as checkpointer:
        assert int(checkpointer.restore(abstract).step) == 0


# Orbax leaves its other reads running when one fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damage_is_named_and_never_changes_a_number(saved, abstract, current, tmp_path_factory):
    files = [path for path in sorted((saved / "0").rglob("*")) if path.is_file()]
    named = set()
    for number, file in enumerate(files):
        copy = tmp_path_factory.mktemp("copy") / str(number)
        shutil.copytree(saved, copy)
        short = copy / file.relative_to(saved)
        short.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with reopen(copy) as checkpointer:
            try:
                restored = checkpointer.restore(abstract)
            except checkpoint.CheckpointError as error:
                assert f"{copy}/0 is damaged" in str(error)
                named.add(file.relative_to(saved / "0").parts[0])
            else:  # a file that only describes
                jax.tree.map(np.testing.assert_array_equal, restored, current)
    assert named == {"params", "ema", "rest", "meta"}


@pytest.mark.parametrize("item", ["params", "ema", "rest", "meta"])
def test_missing_item_is_named(saved, abstract, item):
    shutil.rmtree(saved / "0" / item)
    with (
        reopen(saved) as checkpointer,
        pytest.raises(checkpoint.CheckpointError, match=f"{saved}/0 is damaged"),
    ):
        checkpointer.restore(abstract)


def test_other_shapes_and_types_are_named(saved, abstract):
    head = abstract.params["head"]
    for leaf in (jax.ShapeDtypeStruct((32, 4), jnp.float32), jax.ShapeDtypeStruct((32, 3), jnp.bfloat16)):
        other = abstract._replace(params={**abstract.params, "head": {**head, "kernel": leaf}})
        with (
            reopen(saved) as checkpointer,
            pytest.raises(checkpoint.CheckpointError, match=r"params/head/kernel is float32\[32, 3\] there"),
        ):
            checkpointer.restore(other)


def test_no_checkpoint_is_named(saved, abstract, tmp_path_factory):
    with (
        reopen(saved) as checkpointer,
        pytest.raises(checkpoint.CheckpointError, match="no checkpoint of step 3"),
    ):
        checkpointer.restore(abstract, step=3)
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint"):
        checkpoint.read_params(tmp_path_factory.mktemp("empty"))


def test_later_checkpoints_are_set_aside_whole(tmp_path):
    for step in (3, 7, 11):
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
        (tmp_path / "checkpoints" / str(step) / "file").write_text(str(step))
    (tmp_path / "checkpoints/12.orbax-checkpoint-tmp").mkdir()
    directory, aside = tmp_path / "checkpoints", tmp_path / "set_aside"
    with pytest.raises(checkpoint.CheckpointError, match=r"no checkpoint of step 4 .*\[3, 7, 11\]"):
        checkpoint.set_aside(directory, after=4, into=aside)
    assert checkpoint.set_aside(directory, after=11, into=aside) == []
    assert checkpoint.set_aside(directory, after=3, into=aside) == [7, 11]
    assert checkpoint.steps_in(directory) == [3] and checkpoint.steps_in(aside) == [7, 11]
    assert [(aside / name / "file").read_text() for name in ("7", "11")] == ["7", "11"]
    shutil.copytree(aside / "7", directory / "7")
    with pytest.raises(checkpoint.CheckpointError, match=r"set_aside holds steps \[7\] already"):
        checkpoint.set_aside(directory, after=3, into=aside)
    assert checkpoint.steps_in(directory) == [3, 7]


def test_dotted_keys_cover_what_is_below_them():
    mine = {"config": {"mesh": {"fsdp": 8}, "meshes": 1}, "manifest_hash": ""}
    other = {"config": {"mesh": {"fsdp": 1, "data": 2}, "meshes": 1}, "manifest_hash": ""}
    stored.check_config(other, mine, may_change=("mesh",), path="there")
    with pytest.raises(checkpoint.CheckpointError, match="meshes"):
        stored.check_config({**other, "config": {"meshes": 2}}, mine, may_change=("mesh",), path="there")


def test_commit_of_this_clone():
    here = Path(__file__).parent
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=here, check=False)
    if git.returncode:
        pytest.skip("not a clone")
    assert checkpoint.code_commit().removesuffix("-dirty") == git.stdout.strip()


def test_outside_a_clone_the_commit_is_unknown(tmp_path):
    assert checkpoint.code_commit(tmp_path) == "unknown"
