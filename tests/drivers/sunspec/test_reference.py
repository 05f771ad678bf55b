"""References, and where they lie in devices of various lengths and counts."""

import pytest

from drivers.sunspec.reference import Absent, check, locate, split


@pytest.mark.parametrize(
    "reference, problem",
    [
        ("203:W", ""),
        ("160:3:DCW", ""),
        ("160:module:3:DCW", ""),
        ("124:0:ChaState", ""),
        ("705:1:ActPt", ""),
        ("705:1:2:V", ""),
        ("707:1:MustTrip:2:V", ""),
        ("704:PFWInj:PF", ""),
        ("802:SoC", ""),
        ("W", "not a SunSpec reference"),
        ("203", "not a SunSpec reference"),
        ("203:", "not a SunSpec reference"),
        ("203::W", "not a SunSpec reference"),
        ("203:3", "not a SunSpec reference"),
        ("meter:W", "not a SunSpec reference"),
        ("-1:W", "not a SunSpec reference"),
        ("9:W", "model 9 is not among the definitions"),
        ("203:Watt", "no point Watt"),
        ("203:1:W", "no group 1"),
        ("160:module:DCW", "say which one"),
        ("705:Pt:1:V", "no group Pt"),
        ("1:SN", "of type string"),
        ("120:Pad", "of type pad"),
    ],
)
def test_a_reference_is_checked_without_a_device(reference: str, problem: str) -> None:
    assert (problem in check(reference)) if problem else check(reference) == ""


def test_texts_and_written_points_are_checked_as_such() -> None:
    assert check("1:SN", is_text=True) == ""
    assert "of type" in check("103:W", is_text=True)
    assert check("124:OutWRte", is_written=True) == ""
    assert "cannot be written" in check("124:ChaState", is_written=True)


@pytest.mark.parametrize(
    "reference, length, counts, at, factor_at",
    [
        ("103:W", 50, {}, 14, 15),
        ("103:St", 50, {}, 38, None),
        # a longer model than defined is no trouble
        ("103:W", 99, {}, 14, 15),
        # a shorter one has what lies inside
        ("103:W", 14, {}, 14, 15),
        # repetitions follow each other, the scale factor is the model's
        ("160:1:DCW", 8 + 40, {}, 21, 4),
        ("160:2:DCW", 8 + 40, {}, 41, 4),
        ("160:N", 8, {}, 8, None),
        # 0 is the model itself
        ("124:0:ChaState", 24, {}, 8, 22),
        # counted groups, one in the other
        ("705:1:ActPt", 100, {"NCrv": 2, "NPt": 4}, 15, None),
        ("705:2:ActPt", 100, {"NCrv": 2, "NPt": 4}, 33, None),
        ("705:2:4:Var", 100, {"NCrv": 2, "NPt": 4}, 50, 13),
        # groups that do not repeat
        ("704:PFWInj:PF", 65, {}, 59, 53),
        ("704:PFWAbs:Ext", 65, {}, 64, None),
    ],
)
def test_where_a_reference_lies(
    reference: str, length: int, counts: dict[str, int], at: int, factor_at: int | None
) -> None:
    model, path = split(reference)
    place = locate(model, length, counts, path)
    assert (place.at, place.scale_factor_at) == (at, factor_at)


@pytest.mark.parametrize(
    "reference, length, counts, why",
    [
        ("103:W", 12, {}, "only 12 registers"),
        # the value is there, its scale factor is not
        ("103:W", 13, {}, "only 13 registers"),
        # half of a long value
        ("103:WH", 23, {}, "only 23 registers"),
        ("160:3:DCW", 8 + 40, {}, "2 × module, not 3"),
        ("160:1:DCW", 8, {}, "0 × module, not 1"),
        # the device's repetitions are not as long as the definition's: which register is whose is unknown
        ("160:1:DCW", 8 + 41, {}, "leaves 1 registers"),
        ("160:1:DCW", 4, {}, "do not fit"),
        # the count is not there, too big, or contradicts the length
        ("705:1:ActPt", 100, {"NCrv": 1}, "does not say how many Pt"),
        ("705:1:ActPt", 100, {"NCrv": 9, "NPt": 10}, "do not fit"),
        ("705:1:ActPt", 100, {"NCrv": 65_535, "NPt": 65_535}, "do not fit"),
        ("705:3:ActPt", 100, {"NCrv": 2, "NPt": 4}, "2 × Crv, not 3"),
        ("705:1:5:V", 100, {"NCrv": 2, "NPt": 4}, "4 × Pt, not 5"),
        ("705:Crv:ActPt", 100, {"NCrv": 2, "NPt": 4}, "say which one"),
        ("9:W", 100, {}, "not among the definitions"),
        ("103:X", 100, {}, "no point X"),
    ],
)
def test_what_a_device_does_not_have(reference: str, length: int, counts: dict[str, int], why: str) -> None:
    model, path = split(reference)
    with pytest.raises(Absent, match=why):
        locate(model, length, counts, path)
