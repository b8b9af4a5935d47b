"""What the commands share: reading a config file with overrides, and errors a person can act on.

A config file is Python with one function `get_config(variant: str = ...) -> ConfigDict`. On the command line,
`--config configs/dit.py:cpu` names the file and the variant, and `--config.optimizer.learning_rate=1e-3`
overrides one entry. The config is locked: a key that does not exist is an error naming the nearest one.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import jax
from ml_collections import ConfigDict

from sora_jax.data.manifest import TooManyBadError
from sora_jax.nn.attention import Implementation
from sora_jax.sharding import mesh as mesh_lib
from sora_jax.sharding import processes
from sora_jax.training.stored import CheckpointError

OVERRIDE = "--config."


class UsageError(ValueError):
    """Something the caller gave cannot be used; the message names the value and the mend."""


TOLD = (UsageError, FileNotFoundError, CheckpointError, TooManyBadError)  # what the caller can mend


@contextlib.contextmanager
def checking_usage() -> Iterator[None]:
    """While what the caller gave is checked: a ValueError is theirs to mend, so it is told in one line."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def run(main: Callable[[Sequence[str]], int | None], arguments: Sequence[str] | None = None) -> None:
    """Runs an entry point; what the caller can mend is printed in one line, everything else raises."""
    try:
        code = main(sys.argv[1:] if arguments is None else arguments)
    except TOLD as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    raise SystemExit(code)


def table(settings: Mapping[str, Any]) -> Any:
    """Settings as a locked ConfigDict; typed Any, since its attributes are those of the settings."""
    return ConfigDict(settings).lock()


def load_config(name: str, overrides: Sequence[str] = ()) -> Any:
    """The locked config of `path.py[:variant]` with `--config.a.b=value` overrides applied.

    Raises:
      UsageError: no such file or variant, or an override of a key that does not exist.
    """
    path, _, variant = name.partition(":")
    if not Path(path).is_file():
        raise UsageError(f"no config file {path}: name one such as configs/dit.py:cpu")
    get_config = runpy.run_path(path).get("get_config")
    if get_config is None:
        raise UsageError(f"{path} defines no get_config()")
    try:
        config: ConfigDict = get_config(variant) if variant else get_config()
    except (KeyError, ValueError, TypeError) as error:
        if not variant:
            raise
        raise UsageError(f"{path} has no variant {variant!r}: {error}") from error
    config.lock()
    for override in overrides:
        _override(config, override)
    return config


def _override(config: ConfigDict, override: str) -> None:
    key, equals, text = override.removeprefix(OVERRIDE).partition("=")
    if not equals:
        raise UsageError(f"{override} has no value: write {override}=VALUE")
    path = key.split(".")
    table: Any = config
    for depth, name in enumerate(path, 1):
        if not isinstance(table, ConfigDict) or name not in table:
            known = list(table.keys()) if isinstance(table, ConfigDict) else []
            near = difflib.get_close_matches(name, known, n=1) or known
            raise UsageError(f"the config has no {key!r}: did you mean {' or '.join(map(repr, near))}?")
        if depth < len(path):
            table = table[name]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    try:
        table[path[-1]] = value
    except TypeError as error:
        raise UsageError(f"{key} = {text!r} does not fit: {error}") from error


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """(the rest, the `--config.key=value` overrides) of a command line."""
    overrides = [a for a in arguments if a.startswith(OVERRIDE)]
    return [a for a in arguments if not a.startswith(OVERRIDE)], overrides


def parser(description: str, *, example: str) -> argparse.ArgumentParser:
    """An argument parser whose help shows every default and an example."""

    class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        pass

    return argparse.ArgumentParser(
        description=description, epilog=f"example:\n  {example}", formatter_class=Formatter
    )


def add_subcommands(parser: argparse.ArgumentParser, commands: Mapping[str, Any]) -> None:
    """One subcommand per module: `add_arguments(parser)`, and its docstring as help; the chosen is `what`."""
    chosen = parser.add_subparsers(dest="what", required=True)
    for name, module in commands.items():
        summary = (module.__doc__ or "").splitlines()[0]
        own = chosen.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=parser.formatter_class
        )
        module.add_arguments(own)


def add_machine(parser: argparse.ArgumentParser) -> None:
    """How this machine computes a model: `build.load_generator` takes the first three.

    --attention, --dtype, --mesh, --distributed; to be put in force by `machine`.
    """
    parser.add_argument(
        "--attention",
        choices=get_args(Implementation),
        default="xla",
        help="kernel of long rows: cudnn and flash for GPUs, splash and ring_splash for TPUs, chunked for "
        "CPUs, ring anywhere",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of the computation"
    )
    parser.add_argument(
        "--mesh",
        metavar="AXIS=DEVICES,...",
        help="cuts the model and its rows over all devices, as in training: '' or data=2,fsdp=4,context=2; "
        "not given = one device",
    )
    add_distributed(parser)


def add_distributed(parser: argparse.ArgumentParser) -> None:
    """--distributed, as `processes.place` takes it."""
    parser.add_argument(
        "--distributed",
        metavar="auto|HOST:PORT,K,N",
        help="one of many processes: found out on Cloud TPU, GKE, SLURM and Open MPI; or process K of N",
    )


@contextlib.contextmanager
def machine(options: argparse.Namespace) -> Iterator[None]:
    """What `add_machine` read, in force: `options.mesh` becomes the mesh, or None for one device.

    Every process runs the whole command, since all of them sample together; the first alone prints, and what
    the others write into `options.out` and `options.sheet` is thrown away.
    """
    with joined(options), contextlib.ExitStack() as within:
        many = bool(options.distributed)
        if many or options.mesh is not None:
            with checking_usage():
                options.mesh = mesh_lib.make_mesh(**mesh_lib.parse(options.mesh or ""), devices=jax.devices())
            processes.meet(options.mesh)
        if many and not processes.is_first():
            folder = Path(within.enter_context(tempfile.TemporaryDirectory()))
            for name in ("out", "sheet"):
                if getattr(options, name, None) is not None:
                    setattr(options, name, folder / getattr(options, name).name)
            nowhere = within.enter_context(Path(os.devnull).open("w"))
            within.enter_context(contextlib.redirect_stdout(nowhere))
        yield


@contextlib.contextmanager
def joined(options: argparse.Namespace) -> Iterator[None]:
    """`processes.joined`, as `--distributed` says."""
    with checking_usage():
        where = processes.place(options.distributed) if options.distributed else None
    with processes.joined(where, told=TOLD):
        yield
