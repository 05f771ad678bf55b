"""From the demo configuration to objects: every role finds its point, every device its slice."""

from pathlib import Path

import pytest

from edge.cli.init import demo_text
from edge.config import SiteConfig, loads
from edge.controller.build import Plant, build
from edge.events import Events
from edge.image import SharedImage
from models.point import Role


@pytest.fixture(scope="module")
def config() -> SiteConfig:
    return loads(demo_text(), check_files=False)


@pytest.fixture(scope="module")
def plant(config: SiteConfig) -> Plant:
    return build(config)


def test_devices_share_out_the_image_without_gap_or_overlap(plant: Plant) -> None:
    first = 0
    for device in plant.devices:
        assert device.first == first
        assert {p.device for p in plant.site.points[first : first + device.count]} == {device.name}
        first += device.count
    assert first == len(plant.site.points)
    assert [(d.name, d.protocol, d.kind) for d in plant.devices] == [
        ("pcs-1", "modbus-tcp", "battery"),
        ("bms-1", "modbus-rtu", "battery"),
        ("meter-1", "modbus-rtu", "meter"),
        ("pv-1", "opcua", "pv"),
    ]


WHO_ANSWERS = [
    (Role.P_KW, "pcs-1/p_kw", "AC power is measured by the PCS"),
    (Role.P_SET_KW, "pcs-1/p_set_kw", "the setpoint is read back from the PCS"),
    (Role.STATE, "pcs-1/state", "the run state that decides is that of the PCS"),
    (Role.HEARTBEAT, "pcs-1/heartbeat", "the PCS has a heartbeat of its own"),
    (Role.SOC, "bms-1/soc", "SOC comes from the BMS"),
    (Role.DC_V, "bms-1/dc_v", "the BMS knows the battery voltage better than the PCS"),
    (Role.DISCHARGE_LIMIT_A, "bms-1/discharge_limit_a", "current limits come from the BMS"),
]


@pytest.mark.parametrize(("role", "name"), [w[:2] for w in WHO_ANSWERS], ids=[w[2] for w in WHO_ANSWERS])
def test_who_answers_for_a_battery(plant: Plant, role: Role, name: str) -> None:
    assert plant.site.points[plant.site.batteries[0].points[role]].name == name


def test_what_the_bms_says_of_itself_stays_its_own(plant: Plant) -> None:
    battery = plant.site.batteries[0]
    named = {role: plant.site.points[at].name for role, at in battery.bms_points.items()}
    assert named[Role.STATE] == "bms-1/state"
    assert named[Role.HEARTBEAT] == "bms-1/heartbeat"
    assert named[Role.ALARM_LEVEL] == "bms-1/alarm_level"
    pcs = {role: plant.site.points[at].name for role, at in battery.points.items()}
    assert pcs[Role.ALARM_LEVEL] == "pcs-1/alarm_level", "the PCS has its own, and never borrows the BMS's"


def test_limits_and_nameplate_come_through_unchanged(plant: Plant) -> None:
    site = plant.site
    assert (site.limits.import_kw, site.limits.export_kw, site.limits.transformer_kva) == (360.0, 0.0, 400.0)
    assert (site.batteries[0].p_min_kw, site.batteries[0].p_max_kw) == (-100.0, 100.0)
    assert site.meter.name == "grid"
    assert site.points[site.meter.points[Role.P_KW]].name == "meter-1/p_kw"
    assert site.points[site.pvs[0].points[Role.P_KW]].name == "pv-1/p_kw"


def test_only_the_pcs_may_be_written(plant: Plant, tmp_path: Path) -> None:
    folder = tmp_path
    image = SharedImage.create(folder / "image", "demo", plant.site.points, plant.devices, 1)
    drivers = plant.open(image, Events(folder / "events.jsonl", "test"), folder)
    assert sorted(driver.name for driver in drivers) == ["bms-1", "meter-1", "pcs-1"]
    assert plant.hosted == ["pv-1"]
    assert plant.takers(drivers)["battery-1"].name == "pcs-1"
