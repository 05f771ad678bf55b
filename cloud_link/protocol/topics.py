"""Topic names of both planes, and the check that a name can be one level of a topic.

Commands travel on our own topics, telemetry on those of Sparkplug B 3.0.
"""

from models.errors import LinkError

FLEET_HOST = "yunchu-fleet"
"""Sparkplug host id of the fleet."""

VERSION = 1
"""Version of our own messages; part of the topic and of every envelope (``v``)."""

_FORBIDDEN = frozenset("+/#\0")
_LONGEST = 128


def level(name: str) -> str:
    """Return ``name`` if it can be one topic level, else raise LinkError."""
    if not name or len(name.encode()) > _LONGEST or _FORBIDDEN & set(name) or name in {".", ".."}:
        raise LinkError(f"{name[:40]!r} cannot be part of a topic (1 to {_LONGEST} bytes, none of + / #)")
    return name


def _own(tenant: str, site: str, leaf: str) -> str:
    return f"yunchu/v{VERSION}/{level(tenant)}/{level(site)}/{leaf}"


def command_topic(tenant: str, site: str) -> str:
    """Fleet to site, QoS 1: signed commands."""
    return _own(tenant, site, "command")


def ack_topic(tenant: str, site: str) -> str:
    """Site to fleet, QoS 1: signed acknowledgements, one for each stage."""
    return _own(tenant, site, "ack")


def confirm_topic(tenant: str, site: str) -> str:
    """Fleet to site, QoS 1: which reports of the site's outbox are stored."""
    return _own(tenant, site, "confirm")


def own_site(topic: str) -> tuple[str, str, str] | None:
    """Split one of our own topics into (tenant, site, leaf), or None if it is not ours."""
    parts = topic.split("/")
    if len(parts) != 5 or parts[:2] != ["yunchu", f"v{VERSION}"]:
        return None
    return parts[2], parts[3], parts[4]


def sparkplug_topic(group: str, kind: str, node: str, device: str | None = None) -> str:
    """Topic of one Sparkplug message kind (NBIRTH, DDATA, NCMD, …)."""
    topic = f"spBv1.0/{level(group)}/{kind}/{level(node)}"
    return topic if device is None else f"{topic}/{level(device)}"


def sparkplug_parts(topic: str) -> tuple[str, str, str, str | None] | None:
    """Split a Sparkplug topic into (group, kind, node, device or None), or None if it is not one."""
    parts = topic.split("/")
    if len(parts) not in (4, 5) or parts[0] != "spBv1.0" or not all(parts):
        return None
    return parts[1], parts[2], parts[3], parts[4] if len(parts) == 5 else None


def state_topic(host: str) -> str:
    """Topic of a host application's STATE (JSON, retained)."""
    return f"spBv1.0/STATE/{level(host)}"
