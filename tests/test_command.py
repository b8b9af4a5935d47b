import pytest

from sora_jax import command

CONFIG = """
from ml_collections import ConfigDict

def get_config(variant="cpu"):
    rate = {"cpu": 0.1, "gpu": 0.2}[variant]
    return ConfigDict({"seed": 1, "optimizer": {"learning_rate": rate}, "name": "a"})
"""


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(CONFIG)
    return str(path)


def test_variant_and_overrides_are_read(config_file):
    assert command.load_config(config_file).optimizer.learning_rate == 0.1
    config = command.load_config(
        config_file + ":gpu", ["--config.optimizer.learning_rate=3e-4", "--config.name=b", "--config.seed=7"]
    )
    assert (config.optimizer.learning_rate, config.name, config.seed) == (3e-4, "b", 7)


@pytest.mark.parametrize(
    "override, message",
    [
        ("--config.optimiser.learning_rate=1", "no 'optimiser.learning_rate': did you mean 'optimizer'"),
        ("--config.optimizer.learning_rat=1", "did you mean 'learning_rate'"),
        ("--config.seed", "has no value"),
        ("--config.seed=abc", "seed = 'abc' does not fit"),
        ("--config.seed.deep=1", "no 'seed.deep'"),
    ],
)
def test_a_bad_override_names_the_mend(config_file, override, message):
    with pytest.raises(command.UsageError, match=message):
        command.load_config(config_file, [override])


def test_a_variant_that_is_not_there_is_told(config_file):
    with pytest.raises(command.UsageError, match="has no variant 'cpuu'"):
        command.load_config(config_file + ":cpuu")


def test_usage_errors_are_one_line_and_exit_2(capsys, tmp_path):
    def main(arguments):
        command.load_config(str(tmp_path / "none.py"))

    with pytest.raises(SystemExit) as stop:
        command.run(main, [])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: no config file")


def test_other_errors_are_not_swallowed():
    def main(arguments):
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError):
        command.run(main, [])
