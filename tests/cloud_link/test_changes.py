import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_link.changes import Changes, Entry, merge, pack, unpack
from models.point import Quality
from tests.cloud_link.world import NAN, POINTS, report


def names(news: list[Entry]) -> set[str]:
    return {f"{device}/{name}" for device, name, _, _ in news}


def settled() -> Changes:
    changes = Changes(POINTS)
    first = changes.worth_telling(report(0, 50.0))
    assert len(first) == 9, "the first report tells everything"
    assert changes.worth_telling(report(1_000, 50.0)) == []
    return changes


@pytest.mark.parametrize(
    ("why", "values", "node", "told"),
    [
        ("inside the dead band of 0.5 %", (50.2,), {}, set()),
        ("beyond the dead band", (50.3,), {}, {"pcs-1/p_kw"}),
        ("a heartbeat is no news", (50.0, 2.0), {}, set()),
        ("a ratio by 0.1 %", (50.0, 1.0, 0.502), {}, {"bms-1/soc"}),
        ("a voltage by 0.2 %", (50.0, 1.0, 0.5, 769.0), {}, set()),
        ("a bound of the site", (50.0,), {"hi_kw": 90.0}, {"/site/hi_kw"}),
        ("another winner", (50.0,), {"winner": "fleet"}, {"/site/winner"}),
        ("a value that has become unknown", (NAN,), {}, {"pcs-1/p_kw"}),
    ],
)
def test_what_is_worth_telling(
    why: str, values: tuple[float, ...], node: dict[str, float], told: set[str]
) -> None:
    assert names(settled().worth_telling(report(2_000, *(values or (50.0,)), **node))) == told, why


def test_many_small_steps_are_told_once_they_add_up() -> None:
    changes = settled()
    told = [names(changes.worth_telling(report(1_000 + n, 50.0 + 0.1 * n))) for n in range(1, 4)]
    assert told == [set(), set(), {"pcs-1/p_kw"}]


def test_a_full_report_comes_each_minute_and_after_a_jump_of_the_clock() -> None:
    changes = settled()
    assert changes.worth_telling(report(59_999, 50.0)) == []
    assert len(changes.worth_telling(report(60_000, 50.0))) == 9
    assert len(changes.worth_telling(report(500, 50.0))) == 9


def test_a_lost_device_tells_its_qualities_once_and_then_is_silent_until_it_is_back() -> None:
    changes = settled()
    lost = (Quality.STALE, Quality.STALE, Quality.GOOD, Quality.GOOD)
    news = changes.worth_telling(report(2_000, 50.0, quality=lost))
    assert {(entry[1], entry[3]) for entry in news} == {("p_kw", 500), ("heartbeat", 500)}
    assert changes.worth_telling(report(3_000, 51.0, quality=lost)) == []
    assert "pcs-1/p_kw" not in names(changes.worth_telling(report(62_000, 51.0, quality=lost)))
    assert "pcs-1/p_kw" in names(changes.worth_telling(report(63_000, 50.0)))


VALUES = (
    st.none()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=5)
)
NEWS = st.dictionaries(
    st.tuples(st.sampled_from(["", "a"]), st.sampled_from("xyz")),
    st.tuples(VALUES, st.sampled_from([0, 192, 500])),
).map(lambda table: [(*key, *entry) for key, entry in table.items()])


@given(st.integers(0, 2**50), NEWS)
def test_a_body_comes_back_as_it_was(t_ms: int, news: list[Entry]) -> None:
    assert unpack(pack(t_ms, news)) == (t_ms, news)


@given(NEWS, NEWS)
def test_merging_keeps_the_last_word_on_everything(older: list[Entry], newer: list[Entry]) -> None:
    t_ms, merged = unpack(merge(pack(1, older), pack(2, newer)))
    assert t_ms == 2
    assert {e[:2]: e[2:] for e in merged} == {e[:2]: e[2:] for e in older} | {e[:2]: e[2:] for e in newer}
