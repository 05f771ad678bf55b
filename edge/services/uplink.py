"""The uplink service: the site's image and records to the fleet, the fleet's commands to the controller.

It only reads the shared files and speaks to the controller through its mailbox, so nothing here can slow a
cycle. Whatever is missing (no controller, no record) makes values stale, not the service stop.
"""

import json
import math
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from cloud_link.changes import Plain, Report
from cloud_link.commands import Decision
from cloud_link.protocol.command import Command
from cloud_link.protocol.signing import Keyring, SigningKey
from cloud_link.settings import LinkSettings
from cloud_link.transport import Address
from cloud_link.uplink import Uplink
from control.owners import OWNERS
from edge.clock import TRUSTED_MS
from edge.config import SiteConfig
from edge.config_tables import FleetTable
from edge.controller.build import site_of
from edge.image import SharedImage
from edge.mailbox import MAX_VALID_S, ask
from edge.ring import Ring
from edge.services.demand import write_atomic
from edge.services.follow import Followed, Follower, Progress, View
from models.errors import LinkError, StoreError
from models.point import Image, Role, find
from models.proposal import Source
from models.site import Site
from models.units import NS_PER_MS, NS_PER_S

POLL_S = 0.1
REPORT_NS = NS_PER_S
FILE_NS = 5 * NS_PER_S
"""``uplink.json`` is written so often; more often would only wear the flash."""
RETRY_NS = NS_PER_S
"""A command that waits is offered again so often to a controller that does not answer."""
NO_ANSWER = "SAFETY"
"""Reject code when there is no controller to act."""
RECORD_NS = 2 * NS_PER_S
"""A record older than this says nothing about now."""
BEGIN_SLACK_MS = 500
"""A command that begins so soon is posted at once."""
REFUSALS = {"RANGE": "RANGE", "EXPIRED": "EXPIRED", "MALFORMED": "MALFORMED", "UNKNOWN_KIND": "UNKNOWN_KIND"}
"""What the controller's mailbox says, in the words of the link; anything else is a conflict."""


def utc_ms() -> int:
    """Return the wall clock."""
    return time.time_ns() // NS_PER_MS


def clock_trusted() -> bool:
    """Tell whether the wall clock was ever set."""
    return utc_ms() >= TRUSTED_MS


def address_of(fleet: FleetTable) -> Address:
    """Return where the broker is and how to be let in; OSError when the password cannot be read."""
    url = urlsplit(fleet.broker)
    secure = url.scheme == "mqtts"
    return Address(
        url.hostname or "127.0.0.1",
        url.port or 1883,
        fleet.username or "",
        fleet.password_file.read_text("utf-8").strip() if fleet.password_file else "",
        fleet.ca_file if secure else None,
        fleet.cert_file if secure else None,
        fleet.key_file if secure else None,
    )


class Eyes:
    """Looks at the shared files of the controller, and finds the new ones when it was started anew."""

    def __init__(self, site: Site, run_dir: Path) -> None:
        self._site, self._run_dir = site, run_dir
        self._image: SharedImage | None = None
        self._ring: Ring | None = None
        self._stamp: tuple[int, int] = (0, 0)

    @property
    def epoch_ms(self) -> int:
        """Start of the controller; 0 when none has run."""
        image = self._image
        return image.epoch_ms if image else 0

    def open(self) -> None:
        """Open what is there; called often, does work only when the files have been replaced."""
        try:
            stamp = (self._run_dir / "image").stat().st_ino, (self._run_dir / "ring").stat().st_ino
            if stamp != self._stamp:
                self._image = SharedImage.open(self._run_dir / "image")
                self._ring = Ring.open(self._run_dir / "ring")
                self._stamp = stamp
        except (OSError, StoreError):
            self._image = self._ring = None
            self._stamp = (0, 0)

    def image(self, now_ns: int) -> Image:
        """Return all readings with their age taken into account; all BAD when there is no controller."""
        image = self._image
        if image is None or len(image.points) != len(self._site.points):
            return Image.empty(len(self._site.points))
        return image.snapshot().aged(self._site.max_age_ns, now_ns)

    def record(self, now_ns: int) -> np.void | None:
        """Return the newest record, or None when it is too old to say anything about now."""
        ring = self._ring
        record = ring.newest() if ring else None
        if record is None or not 0 <= now_ns - int(record["mono_ns"]) < RECORD_NS:
            return None
        return record


def battery_kw(site: Site, image: Image) -> float | None:
    """Return the measured power of all batteries, discharge +; None unless every one is GOOD."""
    readings = [find(image, battery.points, Role.P_KW) for battery in site.batteries]
    return math.fsum(r.value for r in readings) if all(r.good for r in readings) else None


def view_of(record: np.void, epoch_ms: int, measured_kw: float | None) -> View:
    """Return what a record says about commands."""
    held = [int(r["ref"]) for r in record["requests"] if r["present"] and int(r["source"]) == Source.FLEET]
    return View(
        int(record["mono_ns"]),
        epoch_ms,
        held[0] if held else None,
        OWNERS[int(record["winner"])],
        float(record["target_kw"]),
        measured_kw,
    )


def report_of(image: Image, record: np.void | None, measured_kw: float | None, t_ms: int) -> Report:
    """Return the report of this second; without a record nothing is said about what the site may do."""
    node: dict[str, Plain] = dict.fromkeys(
        ("site/battery_kw", "site/lo_kw", "site/hi_kw", "site/winner", "site/cycle")
    )
    if record is not None:
        node = {
            "site/battery_kw": float(record["p_set_kw"].sum()),
            "site/lo_kw": float(record["site_lo_kw"]),
            "site/hi_kw": float(record["site_hi_kw"]),
            "site/winner": OWNERS[int(record["winner"])],
            "site/cycle": int(record["cycle"]),
        }
    node["site/battery_p_kw"] = measured_kw
    return Report(t_ms, node, image.value.tolist(), image.quality.tolist())


class Service:
    """Between one controller and one link."""

    def __init__(self, config: SiteConfig, fleet: FleetTable, run_dir: Path) -> None:
        self._site = site_of(config)
        self._run_dir, self._state_dir = run_dir, config.state_dir
        self._eyes = Eyes(self._site, run_dir)
        self._follower = Follower()
        self._lock = threading.Lock()
        """Held from the decision to post until it is followed: nothing that a stop ends may overtake it."""
        batteries = self._site.batteries
        total = (sum(b.p_min_kw for b in batteries), sum(b.p_max_kw for b in batteries))
        settings = LinkSettings(
            fleet.tenant, config.name, address_of(fleet), config.state_dir, {"site": total}
        )
        self._link = Uplink(
            settings,
            self._site.points,
            Keyring.load(fleet.fleet_keys),
            SigningKey.load(fleet.site_key),
            self._act,
            utc_ms=utc_ms,
            clock_trusted=clock_trusted,
        )

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``; leaves in order."""
        self._adopt(time.monotonic_ns())
        self._link.start()
        report_ns = file_ns = 0
        try:
            while not stop.wait(POLL_S):
                now_ns = time.monotonic_ns()
                self._eyes.open()
                self._turn(now_ns)
                if now_ns >= report_ns:
                    report_ns = max(report_ns + REPORT_NS, now_ns)
                    self._report(now_ns)
                if now_ns >= file_ns:
                    file_ns = now_ns + FILE_NS
                    self._write_state()
        finally:
            self._link.stop()
            self._write_state()

    def _report(self, now_ns: int) -> None:
        image = self._eyes.image(now_ns)
        measured_kw = battery_kw(self._site, image)
        self._link.report(report_of(image, self._eyes.record(now_ns), measured_kw, utc_ms()))

    def _write_state(self) -> None:
        counters = self._link.counters()
        state = {"t_ms": utc_ms(), **counters["telemetry"], "commands": counters["commands"]}
        try:
            write_atomic(self._state_dir / "uplink.json", json.dumps(state, ensure_ascii=False))
        except OSError:
            pass  # a full disk must not end the link; the outbox reports its own troubles

    # --- commands ----------------------------------------------------------------------------------------

    def _adopt(self, now_ns: int) -> None:
        """Follow again what an earlier run of this service had accepted."""
        for left in self._link.resumed:
            self._follower.add(_followed(left.command, left.ref, now_ns, utc_ms()))

    def _turn(self, now_ns: int) -> None:
        with self._lock:
            news = self._post_due(now_ns)
            if len(self._follower):
                news += self._follower.look(self._view(now_ns), now_ns)
        self._tell(news)

    def _post_due(self, now_ns: int) -> list[Progress]:
        news: list[Progress] = []
        for followed in self._follower.due(now_ns):
            if followed not in self._follower:  # a stop that was due before it has ended it
                continue
            refusal = self._post(followed, now_ns)
            if refusal is None:
                news += self._follower.posted(followed, now_ns, self._eyes.epoch_ms)
            elif refusal.code == NO_ANSWER:
                followed.begin_ns = now_ns + RETRY_NS
            else:
                news.append(self._follower.drop(followed, refusal.detail))
        return news

    def _view(self, now_ns: int) -> View | None:
        record = self._eyes.record(now_ns)
        if record is None:
            return None
        return view_of(record, self._eyes.epoch_ms, battery_kw(self._site, self._eyes.image(now_ns)))

    def _tell(self, news: list[Progress]) -> None:
        for progress in news:
            self._link.progress(*progress)

    def _act(self, command: Command, ref: int) -> Decision:
        """Take a command that passed every check of the link (called in a thread of the link)."""
        now_ns, now_ms = time.monotonic_ns(), utc_ms()
        followed = _followed(command, ref, now_ns, now_ms)
        record = self._eyes.record(now_ns)
        if command.kind != "stop" and _operator_acts(record):
            return Decision(False, "LOCAL_MODE", "an operator at the site is in control")
        if followed.begin_ns > now_ns + BEGIN_SLACK_MS * NS_PER_MS:
            with self._lock:
                self._follower.add(followed)
            return Decision(True, detail=f"begins in {(followed.begin_ns - now_ns) // NS_PER_S} s")
        with self._lock:
            refusal = self._post(followed, now_ns)
            if refusal is not None:
                return refusal
            news = self._follower.posted(followed, now_ns, self._eyes.epoch_ms)
        self._tell(news)
        measured_kw = battery_kw(self._site, self._eyes.image(now_ns))
        return Decision(True, detail=_clip_note(command, record), actual_kw=measured_kw)

    def _post(self, followed: Followed, now_ns: int) -> Decision | None:
        """Give a command to the controller; return None, or why it was not taken."""
        message = {
            "v": 1,
            "kind": "fleet",
            "ref": followed.ref,
            "p_kw": followed.command.p_kw,
            "valid_s": min((followed.end_ns - now_ns) / NS_PER_S, MAX_VALID_S),
        }
        try:
            answer = ask(self._run_dir / "control.sock", message)
        except LinkError as error:
            return Decision(False, NO_ANSWER, str(error))
        if answer.get("ok") is True:
            return None
        return Decision(
            False, REFUSALS.get(str(answer.get("code")), "CONFLICT"), str(answer.get("what", "not taken"))
        )


def _followed(command: Command, ref: int, now_ns: int, now_ms: int) -> Followed:
    """Turn the validity into monotonic time; a stop without a clock counts from now on."""
    if command.kind == "stop" and not clock_trusted():
        now_ms = command.valid_from_ms
    begin_ns = now_ns + (command.valid_from_ms - now_ms) * NS_PER_MS
    return Followed(command, ref, begin_ns, now_ns + (command.valid_to_ms - now_ms) * NS_PER_MS)


def _operator_acts(record: np.void | None) -> bool:
    if record is None:
        return False
    return any(r["in_force"] and int(r["source"]) == Source.OPERATOR for r in record["requests"])


def _clip_note(command: Command, record: np.void | None) -> str:
    """Say when the site cannot do now what is asked; it does what it can, as its limits move."""
    if record is None:
        return ""
    low_kw, high_kw = float(record["site_lo_kw"]), float(record["site_hi_kw"])
    possible_kw = min(max(command.p_kw, low_kw), high_kw)
    return "" if possible_kw == command.p_kw else f"limited to {possible_kw:.1f} kW now"


def run_uplink(config: SiteConfig, run_dir: Path, stop: threading.Event) -> None:
    """Serve the link of one site until ``stop``; does nothing for a site without ``[fleet]``.

    Raises:
        LinkError: a key file cannot be used.
        StoreError: the outbox or the command store cannot be used.
    """
    if config.fleet is not None:
        Service(config, config.fleet, run_dir).run(stop)
