"""A row holds everything: what goes in comes out, and the two descriptions of its form agree."""

import math

import numpy as np
import pytest

from control.cycle import Inputs, Now, run_cycle
from control.owners import OWNERS
from control.record import as_row, differing, dtype, layout, unpack
from models.proposal import Request, Source
from tests.control.world import World


@pytest.mark.parametrize(("points", "units"), [(0, 0), (1, 1), (50, 1), (300, 7), (2000, 64)])
def test_both_descriptions_of_a_row_have_one_size(points: int, units: int) -> None:
    form = layout(points, units)
    fields = form.row.fields
    assert fields is not None
    assert form.state.size == fields["state_in"][0].itemsize == fields["state_out"][0].itemsize
    rest = ("cycle", "mono_ns", "utc_ms", "value", "quality", "t_ns", "requests", "state_in", "state_out")
    assert form.findings.size == form.row.itemsize - sum(fields[name][0].itemsize for name in rest)


def test_what_goes_in_comes_out() -> None:
    world = World.running(units=3)
    world.ask(Source.PLAN, 12.5)
    world.ask(Source.OPERATOR, -3.0, for_s=-1.0)
    image, state = world.image(), world.state
    now, inputs = Now(world.now_ns + 1, 99), Inputs(tuple(world.requests.values()))
    row = run_cycle(world.site, image, state, now, inputs).record
    image_out, state_out, now_out, inputs_out = unpack(world.site, row)
    for name in ("value", "quality", "t_ns"):
        assert getattr(image_out, name).tobytes() == getattr(image, name).tobytes()
    assert (state_out, now_out, inputs_out) == (state, now, inputs)


def test_named_fields_say_what_the_cycle_did() -> None:
    world = World.running(units=2, net_kw=200.0)
    world.ask(Source.FLEET, 8.0)
    outcome = world.step()
    row = world.row
    assert dtype(world.site) == row.dtype
    assert (row["cycle"], row["mono_ns"]) == (31, world.now_ns)
    assert row["p_set_kw"].tolist() == [setpoint.p_kw for setpoint in outcome.setpoints]
    assert row["expires_ns"] == outcome.setpoints[0].expires_ns
    assert (row["wish_kw"], row["target_kw"]) == (8.0, 5.0)
    assert OWNERS[row["winner"]] == "fleet"
    assert (row["site_lo_kw"], row["site_hi_kw"]) == pytest.approx((-157.0, 197.0))
    assert (OWNERS[row["site_lo_by"]], OWNERS[row["site_hi_by"]]) == ("grid_import", "grid_export")
    assert (row["reach_lo_kw"], row["reach_hi_kw"]) == (-5.0, 5.0)
    assert (OWNERS[row["reach_lo_by"]], OWNERS[row["reach_hi_by"]]) == ("ramp", "ramp")
    assert row["unit_lo_kw"].tolist() == [-100.0, -100.0]
    assert row["unit_hi_kw"].tolist() == [100.0, 100.0]
    assert [OWNERS[k] for k in (*row["unit_lo_by"], *row["unit_hi_by"])] == ["rated"] * 4
    assert (row["forced"], row["conflicts"], row["net_kw"]) == (0, 0, 200.0)
    assert row["state_in"]["cycle"] == 31
    assert row["state_out"]["cycle"] == 32
    assert row["state_out"]["last_kw"].tolist() == row["p_set_kw"].tolist()


def test_requests_have_fixed_places() -> None:
    world = World.running()
    world.ask(Source.OPERATOR, 1.0, for_s=-1.0)
    world.ask(Source.FLEET, 2.0)
    world.step()
    requests = world.row["requests"]
    assert requests["present"].tolist() == [0, 1, 1]
    assert requests["in_force"].tolist() == [0, 1, 0]
    assert requests["source"].tolist() == [0, 1, 2]
    assert requests["p_kw"].tolist() == [0.0, 2.0, 1.0]
    assert requests["ref"].tolist() == [0, 7, 7]
    assert requests["expires_ns"][0] == 0
    assert requests["expires_ns"][1] == world.requests[Source.FLEET].expires_ns


def test_net_load_that_is_not_known_is_nan() -> None:
    world = World.make()
    world.silent = {"meter-1"}
    world.step()
    assert math.isnan(world.row["net_kw"])


@pytest.mark.parametrize("number", [2**63 - 1, 2**70, -(2**70)])
def test_numbers_of_a_request_that_are_too_large_are_cut(number: int) -> None:
    world = World.running()
    world.requests[Source.PLAN] = Request(Source.PLAN, 1.0, number, number)
    world.step()
    expected = min(max(number, -(2**63 - 1)), 2**63 - 1)
    assert world.row["requests"]["ref"][Source.PLAN] == expected
    assert world.row["requests"]["expires_ns"][Source.PLAN] == expected


def test_a_row_is_itself_and_bytes_become_one() -> None:
    world = World.running()
    assert as_row(world.site, world.row) is not None
    row = world.row
    assert as_row(world.site, row) is row
    assert as_row(world.site, row.tobytes()).tobytes() == world.outcomes[-1].record


def test_differences_are_named_bit_by_bit() -> None:
    world = World.running()
    first, second = world.step().record, world.step().record
    assert differing(world.site, first, first) == []
    assert {"cycle", "mono_ns", "utc_ms", "t_ns", "state_in", "state_out"} <= set(
        differing(world.site, first, second)
    )
    changed = np.frombuffer(bytearray(first), dtype(world.site))
    changed["wish_kw"] = -0.0
    assert differing(world.site, first, changed[0]) == ["wish_kw"]
