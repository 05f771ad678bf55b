"""From a power to the values that ask an OPC UA device for it, each in its node's own data type."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from drivers.catalog.product import Register, SetRow
from drivers.opcua_nodes import Limits, in_parts, look_up, soon
from drivers.opcua_value import parts
from models.errors import BadReply, Refused

ValueOf = Callable[[str], float]
"""Returns the present value of a point by its name, NaN when it is not known."""
Raw = int | float | bool
WHOLE = {
    ua.VariantType.SByte: (-(2**7), 2**7 - 1), ua.VariantType.Byte: (0, 2**8 - 1),
    ua.VariantType.Int16: (-(2**15), 2**15 - 1), ua.VariantType.UInt16: (0, 2**16 - 1),
    ua.VariantType.Int32: (-(2**31), 2**31 - 1), ua.VariantType.UInt32: (0, 2**32 - 1),
    ua.VariantType.Int64: (-(2**63), 2**63 - 1), ua.VariantType.UInt64: (0, 2**64 - 1),
}  # fmt: skip
BUILT_IN = {f"i={kind.value}": kind for kind in ua.VariantType}
"""Types by the node id that names them (OPC 10000-6 5.1.2)."""
SINGLE = Struct("<f")
MOST_DIGITS = 10.0
"""A power of ten beyond it is no scale (SunSpec allows as much)."""
LEAST = 1e-9
"""A whole that is smaller is none."""
UNREADABLE = frozenset({StatusCodes.BadNotReadable, StatusCodes.BadUserAccessDenied})


@dataclass(frozen=True, slots=True)
class Target:
    """A node that is written."""

    name: str
    node: ua.NodeId
    type: ua.VariantType
    readable: bool


async def find_targets(
    client: Client, registers: Sequence[Register], uri: str, limits: Limits
) -> dict[tuple[str, ...], Target]:
    """Return the target of each register by its ``node``.

    Raises:
        BadReply: a node is missing or is no number.
    """
    names = list(dict.fromkeys(register.node for register in registers))
    found = await look_up(client, names, uri, limits)
    nodes = [node for node in found if node is not None]
    if len(nodes) < len(names):
        missing = names[found.index(None)]
        raise BadReply(f"no node {'/'.join(missing)} to be written")
    kinds = await _attributes(client, nodes, AttributeIds.DataType, limits)
    values = await _attributes(client, nodes, AttributeIds.Value, limits)
    return {
        name: _target("/".join(name), node, kind, value)
        for name, node, kind, value in zip(names, nodes, kinds, values, strict=True)
    }


async def _attributes(
    client: Client, nodes: Sequence[ua.NodeId], attribute: AttributeIds, limits: Limits
) -> list[ua.DataValue]:
    async def read(part: list[ua.NodeId]) -> Sequence[ua.DataValue]:
        values: Sequence[ua.DataValue] = await client.uaclient.session.read_attributes(part, attribute)
        return values

    return await in_parts(nodes, limits.read, read)


def _target(name: str, node: ua.NodeId, kind: ua.DataValue, value: ua.DataValue) -> Target:
    """Take the type from the value, which shows the built-in type behind a derived one, or from the node."""
    content, code = parts(value)
    data_type = parts(kind)[0]
    if content is not None and value.Value is not None:
        variant = value.Value.VariantType
    elif isinstance(data_type, ua.NodeId) and data_type.to_string() in BUILT_IN:
        variant = BUILT_IN[data_type.to_string()]
    else:
        raise BadReply(f"{name} does not show its data type")
    if variant not in WHOLE and variant not in (
        ua.VariantType.Boolean, ua.VariantType.Float, ua.VariantType.Double,
    ):  # fmt: skip
        raise BadReply(f"{name} is a {variant.name}, no number")
    return Target(name, node, variant, code not in UNREADABLE)


def encode(value: float, target: Target) -> Raw:
    """Return ``value`` as the node's data type holds it, integers rounded towards zero.

    Raises:
        ValueError: it does not hold it.
    """
    if not math.isfinite(value):
        raise ValueError(f"{target.name}: {value} is no number")
    if target.type is ua.VariantType.Boolean:
        return value != 0.0
    if target.type in WHOLE:
        whole = math.trunc(round(value, 6))  # 4.3 / 0.1 is a little less than 43
        lo, hi = WHOLE[target.type]
        if not lo <= whole <= hi:
            raise ValueError(f"{target.name}: {value:g} does not fit a {target.type.name}")
        return whole
    if target.type is ua.VariantType.Float:
        try:
            (single,) = SINGLE.unpack(SINGLE.pack(value))
        except (OverflowError, StructError) as error:
            raise ValueError(f"{target.name}: {value:g} does not fit a Float") from error
        return float(single)
    return value


def wanted(row: SetRow, p_kw: float, value_of: ValueOf) -> float:
    """Return what a row is to say for ``p_kw`` (discharge +), in the units of its node.

    Raises:
        ValueError: a point on which it depends is not known, or says what would turn the power round
            or lead beyond reason.
    """
    value = {
        "constant": row.constant,
        "by_sign": row.by_sign[(p_kw >= 0.0) + (p_kw > 0.0)],
        "charge_kw": max(0.0, -p_kw),
        "discharge_kw": max(0.0, p_kw),
        "magnitude_kw": abs(p_kw),
        "p_kw": p_kw,
    }[row.value]
    scale = row.register.scale
    if name := row.register.power_of_ten:
        scale *= 10.0 ** _known(name, value_of, -MOST_DIGITS, MOST_DIGITS)
    if name := row.per:
        scale *= _known(name, value_of, LEAST, math.inf)
    return value / scale


def _known(name: str, value_of: ValueOf, lo: float, hi: float) -> float:
    value = value_of(name)
    if math.isnan(value):
        raise ValueError(f"{name} is not known")
    if not (lo <= value <= hi and math.isfinite(value)):
        raise ValueError(f"{name} is {value:g}")
    return value


async def put(client: Client, target: Target, raw: Raw) -> None:
    """Write one value; neither status nor time goes along, which many servers refuse.

    Raises:
        Refused: the server does not take it.
    """
    data = ua.DataValue(ua.Variant(raw, target.type), StatusCode=None)
    results = await soon(client.uaclient.session.write_attributes([target.node], [data]))
    if len(results) != 1:
        raise BadReply(f"{len(results)} results for one write")
    if not results[0].is_good():
        raise Refused(f"{target.name} = {raw}: {results[0].name}")


async def read_back(client: Client, targets: Sequence[Target]) -> list[object]:
    """Return what stands in the nodes now."""
    if not targets:
        return []
    nodes = [target.node for target in targets]
    values = await soon(client.uaclient.session.read_attributes(nodes, AttributeIds.Value))
    if len(values) != len(nodes):
        raise BadReply(f"{len(values)} values for {len(nodes)} nodes")
    return [parts(value)[0] for value in values]


def same(found: object, told: Raw) -> bool:
    """Whether a node reads as it was written; a device may keep a little less than a Double."""
    return isinstance(found, int | float) and math.isclose(found, told, rel_tol=1e-5, abs_tol=1e-6)


def beat(number: int, target: Target) -> Raw:
    """Return a heartbeat as the node's type holds it: it counts up, a Boolean toggles."""
    if target.type is ua.VariantType.Boolean:
        return bool(number % 2)
    _, hi = WHOLE.get(target.type, (0, number))
    return number % (hi + 1) if target.type in WHOLE else float(number)
