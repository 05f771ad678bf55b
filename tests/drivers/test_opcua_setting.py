"""What points say never turns a power round, never makes it more than reason allows, and never is a fault."""

import math

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalog.product import Register, SetRow
from drivers.opcua_setting import Target, encode, wanted


@pytest.mark.parametrize(
    ("row", "says", "why"),
    [
        (SetRow(Register(), "p_kw", per="x"), -100.0, "x is -100"),
        (SetRow(Register(), "p_kw", per="x"), 0.0, "x is 0"),
        (SetRow(Register(), "p_kw", per="x"), math.inf, "x is inf"),
        (SetRow(Register(), "p_kw", per="x"), math.nan, "x is not known"),
        (SetRow(Register(power_of_ten="x"), "p_kw"), 11.0, "x is 11"),
        (SetRow(Register(power_of_ten="x"), "p_kw"), -11.0, "x is -11"),
        (SetRow(Register(power_of_ten="x"), "p_kw"), 400.0, "x is 400"),
        (SetRow(Register(power_of_ten="x"), "p_kw"), math.nan, "x is not known"),
    ],
)
def test_what_a_point_must_not_say(row: SetRow, says: float, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        wanted(row, 50.0, lambda name: says)


@given(
    st.floats(-1e6, 1e6),
    st.floats(),
    st.floats(),
    st.sampled_from([ua.VariantType.Int16, ua.VariantType.Float, ua.VariantType.Double]),
)
def test_a_power_keeps_its_sign_or_is_refused(p_kw: float, per: float, digits: float, kind) -> None:
    known = {"per": per, "digits": digits}
    row = SetRow(Register(power_of_ten="digits"), "p_kw", per="per")
    try:
        raw = encode(wanted(row, p_kw, known.__getitem__), Target("x", ua.NodeId(), kind, True))
    except ValueError:
        return
    assert raw * p_kw >= 0.0
