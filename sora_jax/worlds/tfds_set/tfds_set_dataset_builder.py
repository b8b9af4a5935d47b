"""The world as a TFDS data set.

tfds build sora_jax/worlds/tfds_set --config small --file_format array_record --data_dir out/tfds
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow_datasets as tfds

from sora_jax.worlds.source import WorldSource
from sora_jax.worlds.tfds_set.features import features, to_example


@dataclasses.dataclass
class WorldConfig(tfds.core.BuilderConfig):
    """What one configuration holds: the seed, and the clips of each split."""

    seed: int = 0
    train: int = 100_000
    validation: int = 1_000
    heldout: int = 1_000


class Builder(tfds.core.GeneratorBasedBuilder):
    """Simulated 2-D clips with captions and the exact state of every frame."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {"1.1.0": "the state's rounding, so that it can be drawn again to the byte"}
    BUILDER_CONFIGS = (
        WorldConfig(name="full", description="100,000 training clips"),
        WorldConfig(name="small", description="to try things out", train=200, validation=20, heldout=20),
        WorldConfig(name="tiny", description="for tests", train=6, validation=2, heldout=2),
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=features(),
            description="Circles, squares, triangles and bars that move, fall, bounce and collide.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        config = self.builder_config
        assert isinstance(config, WorldConfig)
        return {
            "train": self._generate_examples(WorldSource(seed=config.seed, length=config.train)),
            "validation": self._generate_examples(
                WorldSource(seed=config.seed + 1, length=config.validation)
            ),
            "heldout": self._generate_examples(
                WorldSource(seed=config.seed + 2, length=config.heldout, heldout="only")
            ),
        }

    def _generate_examples(self, source: WorldSource):
        for index in range(len(source)):
            yield index, to_example(source[index])
