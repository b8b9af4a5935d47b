"""Plans: what is read from compiled text, the roofline, the errors; where libtpu is, one compiled plan."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import build, command, plan
from sora_jax.build import planning
from sora_jax.sharding import mesh as mesh_lib
from sora_jax.sharding import plan_chips, plan_compile, plan_hlo, plan_report, plan_traffic

# Written after what libtpu 0.0.42 prints: a loop of 5 whose condition alone says so, inside one that says 3;
# an all-gather that runs beside a fusion (start, beside, one number); groups as lists, as an iota and as a
# mesh.
HLO = Path(__file__).with_name("plan_step.hlo").read_text()


@pytest.fixture(scope="module")
def module():
    return plan_hlo.parse(HLO)


def test_loops_multiply(module):
    counts, unknown = plan_hlo.runs(module)
    assert (module.entry, module.devices, unknown) == ("main", 8, [])
    assert (counts["main"], counts["outer_body"], counts["inner_body"], counts["slice"]) == (1, 3, 15, 15)


def test_a_loop_of_unknown_length_is_named_and_counted_once():
    counts, unknown = plan_hlo.runs(plan_hlo.parse(HLO.replace('"known_trip_count":{"n":"3"}', "")))
    assert (counts["inner_body"], unknown) == (5, ["w.2"])


def test_collectives_by_kind_with_bytes_per_device(module):
    found = plan_traffic.collectives(module)
    assert found == {
        "all-gather": plan_traffic.Traffic(1, 8 * 64 * 2 * 3 / 4),  # once, though it stands in two fusions
        "all-reduce": plan_traffic.Traffic(15, 15 * 2 * 400 * 3 / 4),
        "reduce-scatter": plan_traffic.Traffic(
            1, 16 * 8 * 4 * 3 / 4
        ),  # an all-reduce of which a part is kept
        "collective-permute": plan_traffic.Traffic(1, 16 * 8 * 4),
    }


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("replica_groups={{0,2},{1,3}}, x", 2),
        ("replica_groups=[16,4]<=[8,8]T(1,0), x", 4),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=8] {'axis_0','axis_1':(1)4}, x", 8),
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=([2,4]T(1,0)) {'b'}, x", 4),
        ("replica_groups={}, x", 64),
    ],
)
def test_groups(groups, size):
    assert plan_traffic._group_size(groups, 64) == size


def test_memory_traffic_counts_slices_updates_and_not_the_chip_s_own_memory(module):
    """Per inner iteration: 400 B sliced out of HBM (into the chip), 400 written by the update; indices."""
    gather = (
        (2 * 64 * 2) * 2 + (2 * 64 * 2 + 8 * 64 * 2) + 8 * 64 * 2
    )  # the start's tuple, and what runs beside
    permute = 2 * 16 * 8 * 4  # read and written, though the start's tuple and its operand name it three times
    onto_the_chip = 4 * 8 * 4 + 2 * 64 * 2  # of the slice and of the copy only what is read
    scatter = 16 * 8 * 4 + 4 * 8 * 4
    assert (
        plan_traffic.hbm_bytes(module)
        == 15 * (400 + 400 + 2 * 4) + gather + permute + onto_the_chip + scatter
    )


def test_what_goes_to_the_host_and_comes_back_is_counted_and_what_stays_there_is_not():
    """In each of 30 rounds a slice of 64 bytes out and one back; after them 64 out by a copy, and 64 back."""
    offloaded = plan_hlo.parse((Path(__file__).parent / "plan_offload.hlo").read_text())
    assert plan_traffic.host_bytes(offloaded) == 30 * 2 * 64 + 2 * 64


def test_a_step_that_offloads_nothing_moves_nothing_to_the_host(module):
    assert plan_traffic.host_bytes(module) == 0


def test_text_without_an_entry_is_an_error():
    with pytest.raises(ValueError, match="no ENTRY"):
        plan_hlo.parse("HloModule x")


def test_roofline_by_hand():
    chip = plan_chips.Chip(name="x", peak=100.0, hbm=1.0, bandwidth=10.0, wire=2.0, host=0.5)
    moved = {"hbm_bytes": 30, "wire_bytes": 2, "host_bytes": 0}
    found = plan_report.roofline(chip=chip, devices=4, model_flops=600, run_flops=800, **moved)
    assert found.parts == {"compute": 2.0, "memory": 3.0, "wire": 1.0, "host": 0.0}
    assert (found.best, found.worst, found.bound) == (3.0, 6.0, "memory")
    assert (found.mfu_high, found.mfu_low) == (0.5, 0.25)
    moved["host_bytes"] = 3
    found = plan_report.roofline(chip=chip, devices=4, model_flops=600, run_flops=800, **moved)
    assert (found.best, found.worst, found.bound) == (6.0, 12.0, "host")


def test_a_refusal_says_how_much_was_needed():
    message = (
        "RESOURCE_EXHAUSTED: TPU backend error\n"
        "Ran out of memory in memory space hbm. Used 295.12G of 95.74G hbm. x"
    )
    assert plan_compile.needed_bytes(message) == round(295.12 * 2**30)
    assert plan_compile.reason(message) == "out of memory: used 295.12g of 95.74g hbm"
    assert plan_compile.reason("INTERNAL: no\nmore") == "INTERNAL: no"
    assert plan_compile.needed_bytes("INTERNAL: no") == 0


def test_meshes_use_every_device_and_cut_weights_over_at_most_16():
    for devices in (1, 4, 16, 64, 256):
        for mesh in planning.meshes(devices):
            sizes = {"data": 1, "context": 1, **mesh}
            assert sizes["data"] * sizes["fsdp"] * sizes["context"] == devices and sizes["fsdp"] <= 16
    assert list(planning.meshes(4)) == [{"fsdp": 4}, {"fsdp": 2, "context": 2}, {"fsdp": 1, "context": 4}]


def request(**changes) -> build.Request:
    given = {
        "topology": "v5p:4x4x4",
        "mesh": mesh_lib.parse("fsdp=16,context=4"),
        "what": "train",
        "size": build.Size(frames=121, height=720, width=1280),
        "rows": None,
        "autoencoder": "4x8x8",
        "settings": planning.Settings(),
    }
    return build.Request(**{**given, **changes})


def a_plan(asked, *, rows: int, seconds: float, fits: bool) -> plan_report.Plan:
    estimate = plan_report.Roofline(compute=seconds, memory=0.0, wire=0.0, host=0.0, ideal=seconds / 2)
    return plan_report.Plan(
        asked=asked,
        chip="v5e",
        devices=4,
        parameters=1,
        rows=rows,
        tokens=1,
        model_flops=1.0,
        run_flops=1.0,
        memory=None,
        needed=1 if fits else 3,
        peak=1.0,
        hbm=2,
        collectives={},
        hbm_bytes=0.0,
        host_bytes=0.0,
        unknown_loops=[],
        estimate=estimate,
        refusal="",
        seconds=1.0,
        cpu_seconds=1.0,
    )


def search(**changes):
    """A search over 2 x 2 devices in which context=2 fits without remat, fsdp=4 with it, context=4 never."""
    seen = []

    def plan_one(config, asked):
        told = asked.told(config)
        fits = {"fsdp=4": told["remat"] == "full", "fsdp=2,context=2": True}.get(told["mesh"], False)
        rows = asked.rows or asked.mesh["fsdp"]
        return a_plan(told, rows=rows, seconds=12.0, fits=fits)

    config = command.load_config("configs/dit.py:7b")
    asked = request(topology="v5e:2x2", **changes)
    found = planning.search(config, asked, minutes=1.0, show=seen.append, plan_one=plan_one)
    return found, [(p.asked["mesh"], p.asked["remat"], p.asked["accumulate"]) for p in seen]


def test_the_search_takes_the_lightest_remat_that_fits_and_names_the_fastest_per_row():
    found, tried = search()
    assert [t[:2] for t in tried] == [
        *(("fsdp=4", remat) for remat in ("none", "dots", "full")),
        ("fsdp=2,context=2", "none"),
        *(("fsdp=1,context=4", remat) for remat in ("none", "dots", "full", "offload")),
    ]
    assert (found[0].asked["mesh"], found[0].asked["remat"]) == (
        "fsdp=4",
        "full",
    )  # 12 s for 4 rows, not for 2
    assert not found[-1].fits and len(found) == len(tried)


def test_the_search_cuts_given_rows_into_pieces():
    _, tried = search(rows=8)
    assert {(mesh, pieces) for mesh, _, pieces in tried} == {
        ("fsdp=4", 2),
        ("fsdp=2,context=2", 4),
        ("fsdp=1,context=4", 8),
    }
    with pytest.raises(ValueError, match="nothing to try for 0 rows in -1"):
        planning.search(
            command.load_config("configs/dit.py:s"), request(rows=0), minutes=-1, show=print, plan_one=print
        )


def test_the_page_says_what_does_not_fit():
    text = plan_report.page(a_plan({"what": "train"}, rows=4, seconds=2.0, fits=False))
    assert "DOES NOT FIT" in text and "a step takes 2 s if they overlap (MFU 50%)" in text
    assert "\nfits: " in plan_report.page(a_plan({"what": "train"}, rows=4, seconds=2.0, fits=True))


def test_what_was_measured_stands_beside_the_estimate():
    asked = a_plan({"what": "train"}, rows=4, seconds=2.0, fits=True)
    assert "of what overlapping would take" not in plan_report.page(asked)
    measured = plan_compile.Measured(seconds=3.0, runs=5, peak=2 * 2**30)
    text = plan_report.page(dataclasses.replace(asked, needed=2**30, measured=measured))
    assert "measured, 5 runs: 3 s (MFU 8.3%), 1.50 of what overlapping would take, 1.50 of" in text
    assert "peak 2.00 GiB, 2.000 of" in text


def test_a_program_is_run_with_its_state_handed_on():
    """A donated array that is used again is an error, so the state has to come from the run before."""
    step = jax.jit(lambda state, batch: (state + batch, jnp.sum(state)), donate_argnums=0)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = [jax.ShapeDtypeStruct((8,), dtype, sharding=device) for dtype in (jnp.float32, jnp.int32)]
    seen = []

    def watched(*arrays):
        seen.append([np.array(x) for x in arrays])
        return step(*arrays)

    measured = plan_compile.measure(watched, tuple(shapes), donated=True, runs=3)
    assert measured.runs == 3 and measured.seconds > 0 and len(seen) == 5
    assert (seen[0][0] >= 0).all() and (seen[0][0] < 0.02).all() and seen[0][0].std() > 0
    for number, (state, batch) in enumerate(seen):
        np.testing.assert_allclose(state, seen[0][0] + number, rtol=1e-6)
        assert (batch == 1).all()


def test_the_machine_that_is_here_is_planned_for_and_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan_chips, "PRODUCT", {"cpu": 64})
    monkeypatch.setattr(plan_chips, "COPY", {"cpu": 2**12})
    out = str(tmp_path / "plan.json")
    changes = {
        "topology": "local",
        "mesh": "",
        "what": "decode",
        "frames": "1",
        "height": "16",
        "width": "16",
    }
    assert run(**changes, runs="2", autoencoder="4x8x8-small", out=out) == 0
    found = json.loads(Path(out).read_text())
    assert found["fits"] and found["chip"] == "cpu" and found["devices"] == jax.device_count()
    assert found["measured"]["runs"] == 2 and found["measured"]["seconds"] > 0
    assert found["estimate"]["compute"] > 0 and found["estimate"]["wire"] == 0
    assert "measured, 2 runs" in capsys.readouterr().out


def test_what_is_not_there_cannot_be_run():
    with pytest.raises(command.UsageError, match="'v5e:2x2' is not there to be run on: use topology local"):
        run(runs="2")
    with pytest.raises(command.UsageError, match="runs -1 is below 0"):
        run(runs="-1", topology="local", mesh="")


ARGUMENTS = {
    "--config": "configs/dit.py:smoke",
    "--topology": "v5e:2x2",
    "--mesh": "fsdp=4",
    "--frames": "17",
    "--height": "64",
    "--width": "64",
}


def run(**changes: str) -> int:
    arguments = ARGUMENTS | {f"--{name}": value for name, value in changes.items()}
    return plan.main([word for pair in arguments.items() for word in pair])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topology": "v9:2x2"}, "no topology 'v9:2x2'"),
        ({"topology": "v5e"}, "as v5p:4x4x4"),
        ({"mesh": "fsd=4"}, "mesh 'fsd=4': write axis=devices"),
        ({"mesh": "fsdp=four"}, "mesh 'fsdp=four'"),
    ],
)
def test_errors_that_need_no_compiler(changes, message):
    with pytest.raises(command.UsageError, match=message):
        run(**changes)


def test_without_libtpu_the_mend_is_named(monkeypatch):
    monkeypatch.setattr(plan_chips, "has_libtpu", lambda: False)
    with pytest.raises(command.UsageError, match=r"pip install 'sora_jax\[tpu\]'"):
        run()


needs_libtpu = pytest.mark.skipif(
    not plan_chips.has_libtpu(), reason="libtpu, the TPU's compiler, is not installed: sora_jax[tpu]"
)


@needs_libtpu
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topology": "v5e:3x3"}, "no slice that libtpu knows"),
        ({"mesh": "fsdp=8"}, "does not fit 4 devices"),
        ({"frames": "18"}, "frames 18 is not 1 \\+ a multiple of 4: use 17 or 21"),
        ({"height": "72"}, "height 72 is not a multiple of 16 .* use 64 or 80"),
        ({"mesh": "tensor=4"}, "2 heads do not divide over tensor = 4"),
        ({"rows": "6"}, "6 rows do not divide over data x fsdp x accumulate = 4"),
    ],
)
def test_what_does_not_divide_is_told_in_one_line(changes, message):
    with pytest.raises(command.UsageError, match=message):
        run(**changes)


@needs_libtpu
@pytest.mark.slow
def test_a_small_step_is_compiled_for_a_slice(tmp_path):
    """The tiny model's step: it fits, weights are gathered and no activation is exchanged.

    The bound: forward and backward gather every weight once each in at most float32, and the gradients are
    reduced once; nothing else but scalars crosses the wire.
    """
    assert run(out=str(tmp_path / "plan.json")) == 0
    found = json.loads((tmp_path / "plan.json").read_text())
    assert found["fits"] and found["refusal"] == "" and found["unknown_loops"] == []
    assert set(found["collectives"]) <= {"all-gather", "all-reduce", "reduce-scatter"}
    weights = 4 * found["parameters"]
    assert sum(traffic["bytes"] for traffic in found["collectives"].values()) < 5 * weights
    arguments = 4 * 4 * found["parameters"] / 4  # parameters, EMA and at most two moments, in four parts
    assert found["memory"]["arguments"] < 3 * arguments


def test_the_request_is_told():
    told = request().told(command.load_config("configs/dit.py:7b"))
    assert plan_chips.count_devices("v5p:4x4x4") == 64
    assert (told["size"], told["mesh"], told["clip"]) == ("7b", "fsdp=16,context=4", "121x720x1280")
    assert (told["remat"], told["accumulate"], told["attention"]) == ("full", 1, "splash")
