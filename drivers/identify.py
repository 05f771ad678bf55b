"""Who is it? Recognise a device by what it says of itself, else by how believable its registers are.

Reads only. All products of the catalog share one cache of replies, so that they cost few requests together:
first what a device tells on purpose (SunSpec, function 43/14, the catalog's identity rules, strong ones
before weak ones), then, when nothing of that holds, one block of each product and a second look at the best.
Believable registers prove little: such a match never scores above PLAUSIBLE_MOST.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from drivers.catalog.product import Product, Rule
from drivers.modbus import frames, pdu
from drivers.modbus.block import Block
from drivers.plausible import Evidence, Registers, against
from drivers.sunspec.walk import Chain, discover, text
from drivers.talk import T, Talk
from models.errors import DriverError, NoReply, Refused

Text = tuple[str, str]
"""English and Chinese."""

REQUESTS_MAX = 100
"""An unknown device on a slow line takes seconds, not minutes."""
SILENT_MAX = 8
"""So many requests may stay without a reply before the rest is left out: each costs a whole timeout."""
SECOND_LOOK = 6
"""Products that are read further after the first block of each."""
BLOCKS = 3
"""Blocks that are read of one product at most."""
LEAST = 0.08
"""Matches below this are not worth a line."""
STRONG, WEAK = 0.97, 0.92
"""Score of a rule that hardly any other device can fulfil, and of one that a foreign register may."""
SURE = 0.85
"""From here on something was proven, not merely believed."""
PLAUSIBLE_MOST = 0.6
TIE = 0.05
"""What believable registers change between products that the same rule recognises."""
OTHER_UNIT = 0.99
"""A device on another unit id than the product has from the factory."""
CONTRADICTED, UNREAD = 0.5, 0.8
"""A rule does not hold: perhaps a newer model of the same family; or what it asks for cannot be read."""
NO_FUNCTION = 1
"""Exception code of a device that does not know the function."""
COMMON = {"Mn": "vendor", "Md": "product", "Opt": "options", "Vr": "version", "SN": "serial"}


class Match(NamedTuple):
    """A product that it may be."""

    product: str
    """Key in the catalog."""
    score: float
    """0 to 1; see SURE."""
    why: Text


@dataclass(frozen=True, slots=True)
class Identity:
    """What could be learnt about one unit."""

    unit_id: int
    texts: dict[str, str]
    """What it says of itself: vendor, product, version, serial, as far as told."""
    matches: list[Match]
    """Best first."""
    models: tuple[int, ...]
    """Numbers of its SunSpec models."""
    requests: int


@dataclass(slots=True)
class _Verdict:
    """What is thought of one product so far."""

    product: Product
    score: float = 0.0
    why: Text = ("", "")
    holds: bool = False
    """Whether all its identity rules hold."""
    fails: Text | None = None
    """The rule that does not hold, in words."""
    contradicted: bool = False
    """Whether the device said something else than the rule, not nothing."""
    evidence: Evidence = field(default_factory=Evidence)


def identify(unit_id: int, candidates: Sequence[Product]) -> Talk[Identity]:
    """Ask one unit what it is.

    Args:
        unit_id: the unit.
        candidates: what it may be; products that speak neither Modbus nor SunSpec are left out.
    """
    asker = _Asker(unit_id)
    verdicts = [_Verdict(product) for product in candidates if product.protocol in ("modbus", "sunspec")]
    chain = yield from asker.chain()
    objects = yield from asker.device_id()
    yield from _by_rules(asker, verdicts, chain, objects)
    holding = [verdict for verdict in verdicts if verdict.holds]
    yield from _by_registers(asker, [v for v in holding or verdicts if v.product.protocol == "modbus"])
    for verdict in holding:
        if len(holding) > 1:
            verdict.score -= TIE * (1.0 - verdict.evidence.part)
    for verdict in () if holding else verdicts:
        _believe(verdict, chain, unit_id)
    found = [Match(v.product.key, round(v.score, 3), v.why) for v in verdicts if v.score >= LEAST]
    found.sort(key=lambda match: (-match.score, match.product))
    models = tuple(at.id for at in chain.models) if chain else ()
    return Identity(unit_id, asker.texts, found, models, asker.count)


class _Asker:
    """Asks one unit, every question once; what lies within an answer is not asked again."""

    def __init__(self, unit_id: int) -> None:
        self.unit_id = unit_id
        self.texts: dict[str, str] = {}
        self.count = 0
        self._silent = 0
        self._known: dict[tuple[int, int], dict[tuple[int, int], bytes | DriverError]] = {}
        self._lacks: dict[tuple[int, int], DriverError] = {}
        """Functions that a unit does not have."""

    def chain(self) -> Talk[Chain | None]:
        """Return its SunSpec models, None when it has none."""
        try:
            chain = yield from self._through(discover(self.unit_id))
        except DriverError:
            return None
        self.texts |= {COMMON[key]: said for key, said in chain.texts.items() if said and key in COMMON}
        return chain

    def device_id(self) -> Talk[dict[int, str]]:
        """Return what it answers to function 43/14; empty when it does not know that."""
        try:
            objects = yield from self._through(pdu.read_device_id(self.unit_id))
        except DriverError:
            return {}
        for number, name in enumerate(("vendor", "product", "version")):
            if objects.get(number):
                self.texts.setdefault(name, objects[number])
        return objects

    def _through(self, work: Talk[T]) -> Talk[T]:
        """Pass on what another conversation asks, and count it."""
        request = next(work)
        while True:
            answer = yield request
            self._noted(answer)
            try:
                request = work.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result

    def read(self, unit_id: int | None, fn: int, address: int, count: int) -> Talk[bytes | DriverError]:
        """Return the registers, or why they cannot be had."""
        unit = self.unit_id if unit_id is None else unit_id
        known = self._known.setdefault((unit, fn), {})
        for (first, size), data in known.items():
            if (first, size) == (address, count):
                return data
            if fn > 2 and first <= address and address + count <= first + size and isinstance(data, bytes):
                return data[2 * (address - first) : 2 * (address - first + count)]
        if (unit, fn) in self._lacks:
            return self._lacks[unit, fn]
        if self._silent >= SILENT_MAX or self.count >= REQUESTS_MAX:
            return NoReply("not asked: that is enough")
        answer = yield frames.read(unit, fn, address, count)
        self._noted(answer)
        known[address, count] = answer
        if isinstance(answer, Refused) and answer.code == NO_FUNCTION:
            self._lacks[unit, fn] = answer
        return answer

    def _noted(self, answer: bytes | DriverError) -> None:
        self.count += 1
        self._silent += isinstance(answer, NoReply)


# what it says of itself


def _by_rules(
    asker: _Asker, verdicts: Sequence[_Verdict], chain: Chain | None, objects: dict[int, str]
) -> Talk[None]:
    """Judge all products by their identity rules; the weak ones only when no strong one holds."""
    for strong in (True, False):
        for verdict in verdicts:
            rules = verdict.product.identity
            if not rules or any(map(_is_strong, rules)) != strong:
                continue
            told = []
            for rule in rules:
                said = yield from _rule_says(asker, rule, chain, objects)
                told.append(said)
                if not said[0]:
                    break
            _judge(verdict, told, STRONG if strong else WEAK)
        if any(verdict.holds for verdict in verdicts):
            return


def _is_strong(rule: Rule) -> bool:
    return rule.how != "register" or rule.type == "u32"


def _judge(verdict: _Verdict, told: Sequence[tuple[bool | None, Text]], score: float) -> None:
    last_holds, words = told[-1]
    if not last_holds:
        verdict.fails, verdict.contradicted = words, last_holds is False
        return
    verdict.holds, verdict.score = True, score
    verdict.why = "; ".join(text[0] for _, text in told), ";".join(text[1] for _, text in told)


def _rule_says(
    asker: _Asker, rule: Rule, chain: Chain | None, objects: dict[int, str]
) -> Talk[tuple[bool | None, Text]]:
    """Return whether a rule holds (None: that cannot be read), and what was found, in words."""
    if rule.how == "sunspec":
        vendor, model = (chain.texts.get(key, "") if chain else "" for key in ("Mn", "Md"))
        holds = chain is not None and _begins(vendor, rule.starts) and _begins(model, rule.model)
        return holds, (f"SunSpec says {vendor!r} {model!r}", f"SunSpec 标识为 {vendor!r} {model!r}")
    if rule.how == "device_id":
        vendor, model = objects.get(0, ""), objects.get(1, "")
        holds = bool(objects) and _within(rule.contains, vendor) and _within(rule.model, model)
        return holds, (
            f"function 43/14 says {vendor!r} {model!r}",
            f"功能码 43/14 标识为 {vendor!r} {model!r}",
        )
    count = rule.registers if rule.how == "text" else 2 if rule.type == "u32" else 1
    data = yield from asker.read(rule.unit_id, rule.fn, rule.address, count)
    place = f"{rule.fn}/{rule.address}"
    if isinstance(data, DriverError):
        return None, (f"its identity at {place} cannot be read", f"{place} 处的标识无法读取")
    if rule.how == "text":
        said = text(data)
        holds = bool(said) and said.startswith(rule.starts) and rule.contains in said
        return holds, (f"the text at {place} is {said!r}", f"{place} 处的文本为 {said!r}")
    code = int.from_bytes(data, "big")
    return code in rule.among, (f"the type code at {place} is {code:#x}", f"{place} 处的型号代码为 {code:#x}")


def _begins(said: str, wanted: str) -> bool:
    return said.lower().startswith(wanted.lower())


def _within(wanted: str, said: str) -> bool:
    return wanted.lower() in said.lower()


# what its registers look like


def _by_registers(asker: _Asker, verdicts: Sequence[_Verdict]) -> Talk[None]:
    """Read the best block of each product, then further ones of those that look best."""
    if len(verdicts) == 1 and verdicts[0].holds:
        return
    registers = [Registers(verdict.product) for verdict in verdicts]
    first = [
        (known.blocks[0], known, v) for known, v in zip(registers, verdicts, strict=True) if known.blocks
    ]
    for block, known, verdict in sorted(first, key=lambda one: _order(one[0])):
        yield from _look(asker, block, known, verdict)
    best = sorted(zip(registers, verdicts, strict=True), key=lambda pair: -pair[1].evidence.part)
    for known, verdict in best[:SECOND_LOOK]:
        for block in known.blocks[1:BLOCKS] if verdict.evidence.speaks else ():
            yield from _look(asker, block, known, verdict)


def _order(block: Block) -> tuple[int, int, int]:
    """Long reads before the short ones that lie within them."""
    return block.read.fn, block.read.address, -block.read.count


def _look(asker: _Asker, block: Block, known: Registers, verdict: _Verdict) -> Talk[None]:
    read = block.read
    data = yield from asker.read(read.unit_id, read.fn, read.address, read.count)
    seen = against() if isinstance(data, DriverError) else known.weigh(block, data)
    verdict.evidence += seen


def _believe(verdict: _Verdict, chain: Chain | None, unit_id: int) -> None:
    """Set the score of a product of which nothing is proven."""
    product = verdict.product
    if product.protocol == "sunspec":
        part, verdict.why = _of_models(product, chain)
    else:
        part, verdict.why = verdict.evidence.part, verdict.evidence.why
    verdict.score = PLAUSIBLE_MOST * part * (1.0 if product.link.unit_id == unit_id else OTHER_UNIT)
    if verdict.fails:
        verdict.score *= CONTRADICTED if verdict.contradicted else UNREAD
        verdict.why = f"{verdict.why[0]}, but {verdict.fails[0]}", f"{verdict.why[1]},但{verdict.fails[1]}"


def _of_models(product: Product, chain: Chain | None) -> tuple[float, Text]:
    """Return which part of a SunSpec product's points lies in models that the device has."""
    have = {at.id for at in chain.models} if chain else set()
    wanted = [point.sunspec for point in product.points if point.sunspec]
    there = sum(any(int(one.split(":")[0]) in have for one in references) for references in wanted)
    words = (
        f"it speaks SunSpec and has models for {there} of {len(wanted)} points",
        f"支持 SunSpec,{len(wanted)} 个点中有 {there} 个的模型存在",
    )
    return there / len(wanted) if wanted else 0.0, words
