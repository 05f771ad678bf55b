"""The command plane of a site: takes signed commands, has them acted on, and answers each stage.

It has its own client id and a session that the broker keeps, so that a command sent during a short outage
still arrives. One worker thread. An acknowledgement is on disk before it is sent, and is sent until the
broker has it.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from cloud_link.accept import UNKEPT, Acceptor, Admission, Open
from cloud_link.protocol.canonical import Rejected
from cloud_link.protocol.command import FINAL_STAGES, STAGES, Ack, Command, command_hash, encode_ack
from cloud_link.protocol.signing import Keyring, SigningKey
from cloud_link.protocol.topics import VERSION, ack_topic, command_topic
from cloud_link.settings import LinkSettings
from cloud_link.transport import Message, Transport
from cloud_link.worker import Worker
from models.errors import LinkError, StoreError

log = logging.getLogger(__name__)

TURN_S = 0.2
STRANGER_S = 1.0
"""Commands that prove nothing are answered at most once in so long."""
FORGET_S = 3600.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a command that may be acted on."""

    accepted: bool
    code: str = ""
    """A reject code when it was not accepted."""
    detail: str = ""
    actual_kw: float | None = None


@dataclass(slots=True)
class CommandCounters:
    """What the command plane did since its start."""

    connected: bool = False
    """Let in, and subscribed to our commands."""
    received: int = 0
    accepted: int = 0
    rejected: int = 0
    repeated: int = 0
    """Commands that came again and got the same answer."""
    acks_waiting: int = 0
    last_rejection: str = ""


Act = Callable[[Command, int], Decision]
"""Act on a command (with our own number of it): runs in the worker thread and must return within seconds."""


class Commands:
    """Receives one site's commands.

    Args:
        settings: names, addresses and files.
        keys: of the fleet.
        own: signs the acknowledgements.
        act: what to do with a command that passed every check.
        utc_ms: the wall clock.
        clock_trusted: whether the wall clock can be relied on.
    """

    def __init__(
        self,
        settings: LinkSettings,
        keys: Keyring,
        own: SigningKey,
        act: Act,
        utc_ms: Callable[[], int],
        clock_trusted: Callable[[], bool],
    ) -> None:
        self._settings, self._own, self._act = settings, own, act
        self._utc_ms, self._clock_trusted = utc_ms, clock_trusted
        self._acceptor = Acceptor(settings.state_dir / "commands.db", settings.site, keys, settings.targets)
        self._topic = command_topic(settings.tenant, settings.site)
        self._ack_topic = ack_topic(settings.tenant, settings.site)
        self.counters = CommandCounters()
        self._granted = False
        self._on_the_way: set[int] = set()
        self._stranger_s = -STRANGER_S
        self._forget_s = -FORGET_S
        self.resumed: list[Open] = self._resume()
        """Commands that an earlier run left in force; whoever acts on commands goes on following them."""
        self._transport = Transport(
            settings.address,
            f"{settings.tenant}-{settings.site}-commands",
            on_message=lambda message: self._put("message", message),
            on_up=lambda kept: self._put("up", None),
            on_down=lambda reason: self._put("down", None),
            session_s=settings.session_s,
        )
        handlers: dict[str, Callable[[Any], None]] = {
            "message": self._on_message,
            "progress": self._on_progress,
            "up": self._on_up,
            "down": self._on_down,
            "sent": self._on_sent,
            "granted": self._on_granted,
        }
        self._worker = Worker("commands", TURN_S, handlers, self._turn, lambda problem: None)

    def _resume(self) -> list[Open]:
        """Abort what was cut off before it was decided; return what had been accepted."""
        left = self._acceptor.open_commands()
        for each in left:
            if each.stage == "received":
                try:
                    self._answer(
                        each.ref, each.command.id, each.hash, "aborted", detail="the gateway restarted"
                    )
                except StoreError as error:  # a full disk: it is told after the next start
                    log.warning("%s", error)
        return [each for each in left if each.stage != "received"]

    def start(self) -> None:
        """Connect and work until :meth:`stop`."""
        self._worker.start()
        self._transport.start()

    def stop(self) -> None:
        """Disconnect; the broker keeps the session, the disk keeps what was not sent."""
        self._worker.stop()
        self._transport.stop()
        self._acceptor.close()

    def progress(self, command_id: str, stage: str, actual_kw: float | None, detail: str = "") -> None:
        """Report a stage that an accepted command has reached; returns at once.

        Unknown commands and those that have ended are ignored.
        """
        if stage not in STAGES:
            raise LinkError(f"{stage!r} is not a stage")
        self._put("progress", (command_id, stage, actual_kw, detail))

    def _put(self, kind: str, content: Any) -> None:
        self._worker.put(kind, content)

    def _turn(self, now_s: float) -> None:
        if now_s - self._forget_s > FORGET_S:
            self._forget_s = now_s
            self._acceptor.forget_old(self._utc_ms())
        self.counters.connected = self._granted and self._transport.connected
        self._send_acks()

    def _send_acks(self) -> None:
        due = self._acceptor.unsent()
        self.counters.acks_waiting = len(due)
        for number, body in due:
            if number in self._on_the_way or not self._publish(body, partial(self._sent, number)):
                continue
            self._on_the_way.add(number)

    def _publish(self, body: bytes, on_done: Callable[[bool], None] | None = None) -> bool:
        try:
            self._transport.publish(Message(self._ack_topic, body, 1), on_done=on_done)
        except LinkError:
            return False
        return True

    def _sent(self, number: int, good: bool) -> None:
        self._put("sent", (number, good))

    def _on_up(self, _: None) -> None:
        self._granted = False
        self._on_the_way.clear()
        self._transport.subscribe([(self._topic, 1)], lambda good: self._put("granted", good))

    def _on_down(self, _: None) -> None:
        self._on_the_way.clear()

    def _on_granted(self, good: bool) -> None:
        self._granted = good
        if not good:
            raise LinkError("the broker does not let this site subscribe to its commands")

    def _on_sent(self, answer: tuple[int, bool]) -> None:
        number, good = answer
        if good:
            self._acceptor.sent(
                number
            )  # what cannot be noted stays on the way, else it would be sent for ever
        self._on_the_way.discard(number)

    # --- commands ----------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        if message.topic != self._topic or message.retain:
            return  # a command is never retained: that would repeat it to every new session
        self.counters.received += 1
        try:
            admission = self._acceptor.admit(message.payload, time.monotonic())
        except Rejected as rejected:
            self._reject_stranger(rejected, command_hash(message.payload))
            return
        if admission.again:
            self.counters.repeated += 1
            self._acceptor.repeat(admission.ref)
            return
        self._decide(admission)

    def _decide(self, admission: Admission) -> None:
        command, ref = admission.command, admission.ref
        self._answer_kept(admission, "received")
        self._send_acks()  # before acting, which may take a while
        try:
            self._acceptor.judge(command, self._utc_ms(), clock_trusted=self._clock_trusted())
            decision = self._act(command, ref)
        except Rejected as rejected:
            decision = Decision(False, rejected.code, rejected.what)
        if decision.accepted:
            self.counters.accepted += 1
        else:
            self._count_rejection(decision.code, decision.detail)
        stage, code = ("accepted", "") if decision.accepted else ("rejected", decision.code)
        self._answer_kept(admission, stage, code, actual_kw=decision.actual_kw, detail=decision.detail)

    def _answer_kept(
        self,
        admission: Admission,
        stage: str,
        code: str = "",
        *,
        actual_kw: float | None = None,
        detail: str = "",
    ) -> None:
        """Answer from the disk; a stop also without it, because it must not wait for room.

        Raises:
            StoreError: the disk takes nothing, and this is no stop.
        """
        command = admission.command
        body = self._ack(command.id, admission.hash, stage, code, actual_kw=actual_kw, detail=detail)
        try:
            if admission.ref != UNKEPT:
                self._acceptor.record(admission.ref, stage, body)
                return
        except StoreError as error:
            if command.kind != "stop":
                raise
            log.warning("%s", error)
        self._publish(body)

    def _on_progress(self, news: tuple[str, str, float | None, str]) -> None:
        command_id, stage, actual_kw, detail = news
        found = self._acceptor.find(command_id)
        if found is not None and found.stage not in FINAL_STAGES:
            self._answer(found.ref, command_id, found.hash, stage, actual_kw=actual_kw, detail=detail)

    def _reject_stranger(self, rejected: Rejected, digest: str) -> None:
        """Answer what proves nothing: kept nowhere, and seldom, so that it cannot be used to flood us."""
        self._count_rejection(rejected.code, rejected.what)
        now_s = time.monotonic()
        if rejected.command_id and now_s - self._stranger_s >= STRANGER_S:
            self._stranger_s = now_s
            body = self._ack(
                rejected.command_id, digest, "rejected", rejected.code, actual_kw=None, detail=rejected.what
            )
            self._publish(body)

    def _count_rejection(self, code: str, what: str) -> None:
        self.counters.rejected += 1
        self.counters.last_rejection = f"{code}: {what}"
        log.info("command rejected: %s %s", code, what)

    def _answer(
        self,
        ref: int,
        command_id: str,
        digest: str,
        stage: str,
        code: str = "",
        *,
        actual_kw: float | None = None,
        detail: str = "",
    ) -> None:
        body = self._ack(command_id, digest, stage, code, actual_kw=actual_kw, detail=detail)
        self._acceptor.record(ref, stage, body)

    def _ack(
        self, command_id: str, digest: str, stage: str, code: str, *, actual_kw: float | None, detail: str
    ) -> bytes:
        return encode_ack(
            Ack(
                VERSION,
                command_id,
                self._settings.site,
                stage,
                code,
                self._utc_ms(),
                actual_kw,
                detail[:500],
                digest,
            ),
            self._own,
        )
