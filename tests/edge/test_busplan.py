"""Lines of a site file are planned together, and what does not fit is told."""

from dataclasses import replace

import pytest

from edge.busplan import plans_of, warnings_of
from edge.cli.init import demo_text
from edge.config import SiteConfig, loads


def demo(**changes: str) -> SiteConfig:
    text = demo_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    return loads(text, check_files=False)


def test_each_line_of_the_demo_fits() -> None:
    plans = plans_of(demo())
    assert [plan.devices for plan in plans] == [("pcs-1",), ("bms-1",), ("meter-1",)]
    assert all(0.0 < plan.load.utilisation < 1.0 for plan in plans)
    assert warnings_of(plans, "site.toml", "en") == []


@pytest.mark.parametrize(("language", "word"), [("en", "would be busy"), ("zh", "占用率")])
def test_a_slow_line_does_not(language: str, word: str) -> None:
    problems = warnings_of(plans_of(demo(**{"?baud=19200": "?baud=1200"})), "site.toml", language)
    assert problems
    assert {problem.severity for problem in problems} == {"warning"}
    assert all(word in problem.what for problem in problems)


def test_the_point_nearest_to_its_limit_is_named() -> None:
    plan = plans_of(demo())[0]
    name, age_s = plan.oldest("pcs-1")
    worst = max(age / plan.max_age_s[key] for key, age in plan.load.worst_age_s.items())
    assert age_s / plan.max_age_s["pcs-1", name] == worst
    assert plan.oldest("nobody") == ("", 0.0)


def test_devices_that_describe_themselves_are_named_without_a_plan() -> None:
    site = demo()
    fronius = replace_product(site, "fronius/gen24")
    plans = plans_of(fronius)
    assert plans[0].unplanned == ("pcs-1",)
    assert plans[0].devices == ()


def replace_product(site: SiteConfig, product: str) -> SiteConfig:
    first, *others = site.devices
    return replace(site, devices=(first.model_copy(update={"product": product}), *others))
