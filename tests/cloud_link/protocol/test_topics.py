import pytest

from cloud_link.protocol import topics
from models.errors import LinkError


def test_the_topics_of_both_planes() -> None:
    assert topics.command_topic("t", "demo") == "yunchu/v1/t/demo/command"
    assert topics.ack_topic("t", "demo") == "yunchu/v1/t/demo/ack"
    assert topics.confirm_topic("t", "demo") == "yunchu/v1/t/demo/confirm"
    assert topics.sparkplug_topic("t", "NBIRTH", "demo") == "spBv1.0/t/NBIRTH/demo"
    assert topics.sparkplug_topic("t", "DDATA", "demo", "pcs-1") == "spBv1.0/t/DDATA/demo/pcs-1"
    assert topics.state_topic("yunchu-fleet") == "spBv1.0/STATE/yunchu-fleet"


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a#", "\0", "..", ".", "x" * 129, "电" * 43])
def test_a_name_that_would_change_the_meaning_of_a_topic_is_refused(name: str) -> None:
    with pytest.raises(LinkError):
        topics.command_topic("t", name)


@pytest.mark.parametrize(
    ("topic", "parts"),
    [
        ("yunchu/v1/t/demo/ack", ("t", "demo", "ack")),
        ("yunchu/v2/t/demo/ack", None),
        ("yunchu/v1/t/demo", None),
        ("yunchu/v1/t/../demo/ack", None),
        ("spBv1.0/t/NDATA/demo", None),
        ("x" * 65_000, None),
    ],
)
def test_own_topics_are_taken_apart(topic: str, parts: tuple[str, str, str] | None) -> None:
    assert topics.own_site(topic) == parts


@pytest.mark.parametrize(
    ("topic", "parts"),
    [
        ("spBv1.0/t/NDATA/demo", ("t", "NDATA", "demo", None)),
        ("spBv1.0/t/DDATA/demo/pcs-1", ("t", "DDATA", "demo", "pcs-1")),
        ("spBv1.0/t/NDATA/", None),
        ("spBv1.0/t/DDATA/demo/a/b", None),
        ("spAv1.0/t/NDATA/demo", None),
    ],
)
def test_sparkplug_topics_are_taken_apart(topic: str, parts: object) -> None:
    assert topics.sparkplug_parts(topic) == parts
