"""The vendored definitions are complete and can be laid out."""

import pytest

from drivers.sunspec.definition import FOLDER, TYPES, GroupDef, count_points, definition

IDS = sorted(int(path.stem) for path in FOLDER.glob("*.json"))
OTHER = {"string", "pad"}


def groups(group: GroupDef) -> list[GroupDef]:
    """Return a group and all inside."""
    return [group, *(inside for sub in group.groups for inside in groups(sub))]


def test_the_models_that_products_may_need_are_there() -> None:
    assert {1, 101, 103, 111, 113, 120, 124, 160, 201, 204, 211, 214, 701, 715, 801, 809} <= set(IDS)
    assert definition(64_900) is None


@pytest.mark.parametrize("model", IDS)
def test_a_model_can_be_laid_out(model: int) -> None:
    top = definition(model)
    assert top and [point.name for point in top.points[:2]] == ["ID", "L"]
    for group in groups(top):
        assert len({point.name for point in group.points}) == len(group.points)
        for point in group.points:
            assert point.type in TYPES or point.type in OTHER
            factor = group.place(point.scale_factor) or top.place(point.scale_factor)
            assert not point.scale_factor or (factor and factor[1].type == "sunssf")
        # an index names the one group that repeats; one that fills the rest of the model is the last
        repeating = [sub for sub in group.groups if sub.count is not None]
        assert len(repeating) <= 1
        assert not any(sub.count == 0 for sub in group.groups[:-1])
    assert all(top.place(name) for name in count_points(top))


def test_where_a_point_lies() -> None:
    model = definition(103)
    assert model is not None
    found = model.place("W")
    assert found and found[0] == 14 and found[1].scale_factor == "W_SF" and found[1].unit == "W"
    assert model.place("nothing") is None
    assert model.fixed == 52
