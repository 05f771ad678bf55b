"""The sun stands where the almanac says, and clouds only take."""

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.solar import Clouds, clear_sky_w_per_m2, pv_kw, zenith_cosine


def utc(text: str) -> float:
    """Return POSIX seconds of an ISO time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("when", "latitude", "longitude", "elevation_deg", "why"),
    [
        ("2026-06-21T12:00", 23.44, 0.0, 90.0, "solstice noon on the tropic: overhead"),
        ("2026-03-20T12:07", 0.0, 0.0, 90.0, "equinox noon on the equator: overhead"),
        ("2026-12-21T12:00", 51.5, 0.0, 15.1, "winter noon in London"),
        ("2026-06-21T04:00", 31.5, 120.3, 81.9, "summer noon at the demo site"),
        ("2026-06-21T00:00", 90.0, 0.0, 23.4, "polar day"),
    ],
)
def test_sun_elevation(when: str, latitude: float, longitude: float, elevation_deg: float, why: str) -> None:
    cosine = zenith_cosine(utc(when), latitude, longitude)
    assert np.degrees(np.arcsin(cosine)) == pytest.approx(elevation_deg, abs=1.0), why


def test_it_is_dark_at_night() -> None:
    assert clear_sky_w_per_m2(zenith_cosine(utc("2026-06-21T16:00"))) == 0.0


@given(st.floats(-1.0, 1.0))
def test_clear_sky_stays_below_the_solar_constant(cosine: float) -> None:
    assert 0.0 <= clear_sky_w_per_m2(cosine) < 1361.0


def test_summer_noon_of_the_demo_plant_is_about_50_kw() -> None:
    sky = clear_sky_w_per_m2(zenith_cosine(utc("2026-06-21T04:00")))
    assert 950.0 < sky < 1050.0
    assert pv_kw(sky, 60.0) == pytest.approx(50.0, abs=3.0)


def test_clouds_only_take_and_come_and_go() -> None:
    clouds = Clouds(np.random.default_rng(1))
    shares = [clouds.step(1.0) for _ in range(20_000)]
    assert 0.2 < min(shares) < 0.6
    assert max(shares) <= 1.0
    assert 0.6 < float(np.mean(shares)) < 0.98


def test_clouds_repeat_with_their_seed_and_have_smooth_edges() -> None:
    one, two = (Clouds(np.random.default_rng(7)) for _ in range(2))
    shares = [(one.step(0.02), two.step(0.02)) for _ in range(5000)]
    assert all(a == b for a, b in shares)
    assert max(abs(b[0] - a[0]) for a, b in pairwise(shares)) < 0.01
