"""What is written as a TFDS set is read back to the byte, without TensorFlow, which nothing here installs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from sora_jax.worlds.source import WorldSource
from sora_jax.worlds.tfds_set.source import TFDSSource
from sora_jax.worlds.tfds_set.tfds_set_dataset_builder import Builder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    builder = Builder(config="tiny", data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
    builder.download_and_prepare()
    return builder.data_dir


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    else:
        assert a == b


@pytest.mark.parametrize(("split", "seed", "length"), [("train", 0, 6), ("heldout", 2, 2)])
def test_round_trip_is_exact(prepared, split, seed, length):
    read = TFDSSource(prepared, split=split)
    world = WorldSource(seed=seed, length=length, heldout="only" if split == "heldout" else "exclude")
    assert len(read) == length
    for index in (length - 1, 0):
        assert_same(read[index], world[index])
    for name in ("frames", "height", "width"):
        np.testing.assert_array_equal(read.sizes[name], world.sizes[name])
    assert read.sizes["text"][0] == 1 + max(len(c) for c in world[0].captions.values())


def test_a_set_of_another_layout_is_refused_by_name(tmp_path):
    class Other(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = epath.Path(tmp_path)  # a builder outside a package

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict({"id": tfds.features.Text()})
            )

        def _split_generators(self, dl_manager):
            return {"train": [(0, {"id": "x"})]}

        def _generate_examples(self):
            raise NotImplementedError

    other = Other(data_dir=tmp_path, file_format="array_record")
    other.download_and_prepare()
    with pytest.raises(ValueError, match="captions"):
        TFDSSource(other.data_dir)
