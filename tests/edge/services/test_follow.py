from cloud_link.protocol.command import Command
from edge.services.follow import LOST_NS, Followed, Follower, Phase, Progress, View

S = 1_000_000_000
MS = 1_000_000


def followed(ref: int = 1, begin_s: float = 0.0, end_s: float = 15.0, kind: str = "setpoint") -> Followed:
    command = Command(1, f"c{ref}", "fleet", "demo", "site", kind, -50.0, 0, 1, ref, "")
    return Followed(command, ref, round(begin_s * S), round(end_s * S))


def view(
    ref: int | None = 1, winner: str = "fleet", actual_kw: float | None = 0.0, epoch_ms: int = 7
) -> View:
    return View(0, epoch_ms, ref, winner, -50.0, actual_kw)


def posted(*more: Followed) -> Follower:
    follower = Follower()
    follower.posted(followed(), 0, 7)
    for each in more:
        follower.add(each)
    return follower


def test_a_command_is_active_once_reached_once_and_expires() -> None:
    follower = posted()
    seen = [
        follower.look(view(ref=None), 100 * MS),
        follower.look(view(winner="operator"), 200 * MS),
        follower.look(view(actual_kw=-10.0), 300 * MS),
        follower.look(view(actual_kw=-30.0), 400 * MS),
        follower.look(view(actual_kw=-48.0), 500 * MS),
        follower.look(view(actual_kw=-50.0), 600 * MS),
        follower.look(view(ref=None, actual_kw=-50.0), 15 * S),
    ]
    assert seen == [
        [],
        [],
        [Progress("c1", "active", -10.0, "")],
        [],
        [Progress("c1", "active", -48.0, "reached")],
        [],
        [Progress("c1", "expired", -50.0, "")],
    ]
    assert len(follower) == 0


def test_a_power_that_is_there_already_is_active_and_reached_at_once() -> None:
    news = posted().look(view(actual_kw=-50.0), 100 * MS)
    assert [progress.detail for progress in news] == ["", "reached"]


def test_a_command_that_never_decided_says_so_at_its_end() -> None:
    follower = posted()
    assert follower.look(view(winner="operator"), S) == []
    assert follower.look(None, 15 * S) == [Progress("c1", "expired", None, "it never decided a cycle")]


def test_a_newer_command_supersedes_and_one_that_waits_stays() -> None:
    waiting = followed(2, begin_s=5.0)
    follower = posted(waiting)
    assert follower.posted(followed(3), S, 7) == [Progress("c1", "superseded", None, "by c3")]
    assert follower.due(4 * S) == []
    assert follower.due(5 * S) == [waiting]
    assert follower.posted(waiting, 5 * S, 7) == [Progress("c3", "superseded", None, "by c2")]
    assert waiting.phase is Phase.POSTED and len(follower) == 1


def test_a_stop_ends_everything_else() -> None:
    follower = posted(followed(2, begin_s=5.0))
    ends = follower.posted(followed(3, kind="stop"), S, 7)
    assert {progress.command_id for progress in ends} == {"c1", "c2"} and len(follower) == 1


def test_what_is_cancelled_at_the_site_is_aborted() -> None:
    follower = posted()
    assert follower.look(view(), S) != []
    assert follower.look(view(ref=None), S + LOST_NS - 1) == []
    assert follower.look(view(ref=None), S + LOST_NS) == [
        Progress("c1", "aborted", None, "cancelled at the site")
    ]


def test_a_new_controller_is_told_again() -> None:
    follower = posted()
    follower.look(view(), S)
    assert follower.look(None, 3 * S) == []
    assert follower.look(view(ref=None, epoch_ms=8), 4 * S) == []
    assert [each.ref for each in follower.due(4 * S)] == [1]


def test_a_waiting_command_whose_time_is_over_expires_without_having_been_posted() -> None:
    follower = Follower()
    follower.add(followed(1, begin_s=1.0, end_s=2.0))
    assert follower.due(2 * S) == []
    assert follower.look(view(ref=None), 2 * S) == [Progress("c1", "expired", 0.0, "")]
