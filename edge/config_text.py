"""What every configuration mistake is called: its code, and its text in English and Chinese.

A literal table by pydantic's error type; ``{…}`` is filled from the error's own context. An error type that
is not in the table still has a code and a text.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from models.answer import tr
from models.errors import Problem

LONGEST = 200
"""Characters of a value or list that a message repeats."""

UNREADABLE = "CFG-001"
SYNTAX = "CFG-002"
VERSION = "CFG-003"
UNKNOWN_KEY = "CFG-010"
MISSING = "CFG-011"
RANGE = "CFG-012"
TYPE = "CFG-013"
NOT_FINITE = "CFG-014"
MALFORMED = "CFG-015"
DUPLICATE = "CFG-020"
REFERENCE = "CFG-021"
ORDER = "CFG-022"
DEVICES = "CFG-023"
PRODUCT = "CFG-024"
LINK = "CFG-025"
UNIT_ID = "CFG-026"
TIME_ZONE = "CFG-027"
FILE = "CFG-028"
BROKER = "CFG-029"
LINE = "CFG-030"
IMPLAUSIBLE = "CFG-040"
"""A warning: possible, but probably not meant."""


class Text(NamedTuple):
    """What is wrong, and what to do, in both languages; what follows ``key = value``."""

    code: str
    en: str
    zh: str
    do_en: str
    do_zh: str


def _number(en: str, zh: str) -> Text:
    return Text(RANGE, en, zh, "Write a number in that range, in the unit of the key's name.",
                "请按键名中的单位填写范围内的数。")  # fmt: skip


def _type(en: str, zh: str, do_en: str, do_zh: str) -> Text:
    return Text(TYPE, f"is not {en}", f"不是{zh}", do_en, do_zh)


_A_NUMBER = _type("a number", "数字", "Write a number without quotes.", "请填写不带引号的数字。")
_WHOLE = _type("a whole number", "整数", "Write a whole number without quotes.", "请填写不带引号的整数。")
_A_TEXT = _type("a text", "文本", 'Write it in quotes: "…".', '请写在引号中:"…"。')
_TABLE = _type("one table", "单个表", "Write [{key}] once, with single brackets.", "请只写一个 [{key}]。")
_TABLES = _type("a list of tables", "表的列表", "Write [[{key}]], with double brackets, once for each.",
                "请为每一个写 [[{key}]](双方括号)。")  # fmt: skip
_NAME = Text(MALFORMED, "has a form that is not allowed", "格式不允许",
             "Use letters, digits, - and _; at most 32 characters, without blanks.",
             "请使用字母、数字、- 和 _,最多 32 个字符,不含空格。")  # fmt: skip

TEXTS = {
    "greater_than": _number("is not more than {gt}", "没有大于 {gt}"),
    "greater_than_equal": _number("is less than {ge}", "小于 {ge}"),
    "less_than": _number("is not less than {lt}", "没有小于 {lt}"),
    "less_than_equal": _number("is more than {le}", "大于 {le}"),
    "finite_number": Text(NOT_FINITE, "is not a finite number", "不是有限数",
                          "Write a real number; there is no word for \"unlimited\".",
                          "请填写实际数值;没有“无限”的写法。"),
    "float_type": _A_NUMBER,
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "string_type": _A_TEXT,
    "path_type": _A_TEXT,
    "is_instance_of": _A_TEXT,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "list_type": _TABLES,
    "tuple_type": _TABLES,
    "too_short": Text(MISSING, "is empty", "为空",
                      "Write at least one [[{key}]].", "请至少写一个 [[{key}]]。"),
    "string_pattern_mismatch": _NAME,
    "string_too_short": _NAME,
    "string_too_long": _NAME,
    "literal_error": Text(MALFORMED, "is not one of {expected}", "不是 {expected} 之一",
                          "Write one of them.", "请选其中之一。"),
}  # fmt: skip
OTHER = Text(MALFORMED, "cannot be used ({type})", "无法使用({type})",
             "See the comments in the example file.", "请参考示例文件中的注释。")  # fmt: skip

SYNTAX_TEXTS = {
    "Cannot overwrite a value": ("this key is here for the second time", "该键重复出现",
                                 "Keep one of the two lines.", "请只保留一行。"),
    "Cannot declare": ("this table is here for the second time", "该表重复出现",
                       "Put the keys of both into one table.", "请把两处的键合并到一个表中。"),
    "Cannot mutate": ("this table is complete already", "该表已经写完",
                      "Put all its keys into one place.", "请把它的键写在一处。"),
    "Duplicate inline table key": ("this key is here for the second time", "该键重复出现",
                                   "Keep one of the two.", "请只保留一个。"),
    "Invalid value": ("there is no value here that TOML knows", "此处不是 TOML 的值",
                      "A text needs quotes; a number has none.", "文本需要引号,数字不需要。"),
    "Expected '='": ("after a key there must be =", "键之后必须是 =",
                     "Write key = value.", "请写成 键 = 值。"),
    "Expected newline": ("something follows where the line should end", "行末有多余内容",
                         "Write one key = value a line; a text needs quotes.",
                         "每行只写一个 键 = 值;文本需要引号。"),
    "Unterminated string": ("a text does not end", "文本没有结束", "Close the quotes.", "请补上引号。"),
    "Illegal character": ("a text does not end on its line", "文本没有在本行结束",
                          "Close the quotes.", "请补上引号。"),
    "Unclosed array": ("a list does not end", "列表没有结束", "Close it with ].", "请用 ] 结束。"),
}  # fmt: skip
"""Beginning of tomllib's message: what and do, English and Chinese."""


RULES = {
    "unreadable": Text(
        UNREADABLE, "the file cannot be read: {error}", "文件无法读取:{error}",
        "Name a site file in UTF-8; `edge init` writes one.",
        "请指定 UTF-8 编码的站点文件;`edge init` 可生成。"),
    "version": Text(
        VERSION, "config_version = {value} is not known to this version",
        "本版本不支持 config_version = {value}",
        "Write config_version = {known}, or install the version that wrote the file.",
        "请写 config_version = {known},或安装生成该文件的版本。"),
    "unknown": Text(
        UNKNOWN_KEY, 'the key "{key}" is unknown', "未知的键“{key}”",
        "Known here: {known}.", "此处可用:{known}。"),
    "unknown_near": Text(
        UNKNOWN_KEY, 'the key "{key}" is unknown', "未知的键“{key}”",
        'Did you mean "{guess}"?', "是否想写“{guess}”?"),
    "unknown_elsewhere": Text(
        UNKNOWN_KEY, 'the key "{key}" is unknown here', "此处没有键“{key}”",
        "It belongs to [{home}].", "它属于 [{home}]。"),
    "key_missing": Text(
        MISSING, "the key {key} is missing", "缺少键 {key}",
        "Add it; `edge init` writes a commented example.", "请补上;`edge init` 会生成带注释的示例。"),
    "table_missing": Text(
        MISSING, "the table {name} is missing", "缺少表 {name}",
        "Add it; `edge init` writes a commented example.", "请补上;`edge init` 会生成带注释的示例。"),
    "name_taken": Text(
        DUPLICATE, 'the name "{name}" is taken already', "名称“{name}”已被使用",
        "Give each its own name.", "请使用不同的名称。"),
    "no_unit": Text(
        REFERENCE, 'there is no unit "{name}"', "没有单元“{name}”",
        "Units of this site: {known}.", "本站点的单元:{known}。"),
    "no_unit_near": Text(
        REFERENCE, 'there is no unit "{name}"', "没有单元“{name}”",
        'Did you mean "{guess}"?', "是否想写“{guess}”?"),
    "margin": Text(
        ORDER, "margin_kw = {margin:g} leaves nothing of import_kw = {limit:g}",
        "margin_kw = {margin:g} 占满了 import_kw = {limit:g}",
        "Write a margin below import_kw; 1 % is usual.", "请使裕度小于 import_kw,通常为 1 %。"),
    "soc_order": Text(
        ORDER, "soc_min = {low:g} is not less than soc_max = {high:g}",
        "soc_min = {low:g} 不小于 soc_max = {high:g}",
        "Exchange or correct them, for instance 0.1 and 0.95.", "请交换或更正,例如 0.1 和 0.95。"),
    "apparent": Text(
        ORDER, "{key} = {value:g} is beyond s_max_kva = {limit:g}",
        "{key} = {value:g} 超过 s_max_kva = {limit:g}",
        "Active power cannot exceed apparent power; see the nameplate of the PCS.",
        "有功功率不能超过视在功率;请查看 PCS 铭牌。"),
    "part_missing": Text(
        DEVICES, 'no device is the {part} of "{name}"', "“{name}”没有 {part} 设备",
        'Add a [[device]] with unit = "{name}" and a product that is a {part}.',
        "请添加 unit = “{name}” 的 [[device]],其产品为 {part}。"),
    "part_twice": Text(
        DEVICES, '{count} devices are the {part} of "{name}"', "“{name}”有 {count} 个 {part} 设备",
        "Leave one of them.", "请只保留一个。"),
    "product": Text(
        PRODUCT, 'the catalog has no product "{key}"', "产品目录中没有“{key}”",
        "Known: {known}.", "可用:{known}。"),
    "product_near": Text(
        PRODUCT, 'the catalog has no product "{key}"', "产品目录中没有“{key}”",
        'Did you mean "{guess}"?', "是否想写“{guess}”?"),
    "product_wrong": Text(
        PRODUCT, 'the catalog file of "{key}" has mistakes', "“{key}”的产品文件有错误",
        "Correct it: {error}", "请更正:{error}"),
    "link_modbus": Text(
        LINK, 'link = "{link}" is not a Modbus link', 'link = "{link}" 不是 Modbus 链路',
        "Write tcp://192.168.1.10:502 or rtu:///dev/ttyUSB0?baud=19200&parity=N&stop=1.",
        "请写成 tcp://192.168.1.10:502 或 rtu:///dev/ttyUSB0?baud=19200&parity=N&stop=1。"),
    "link_opcua": Text(
        LINK, 'link = "{link}" is not an OPC UA link', 'link = "{link}" 不是 OPC UA 链路',
        "Write opc.tcp://192.168.1.20:4840/.", "请写成 opc.tcp://192.168.1.20:4840/。"),
    "unit_id": Text(
        UNIT_ID, 'unit id {unit_id} on {line} is taken by "{other}"',
        "{line} 上的单元号 {unit_id} 已被“{other}”占用",
        "Give each device of a line its own unit_id.", "请为同一线路上的设备设置不同的 unit_id。"),
    "line": Text(
        LINE, "{line} has two different settings", "{line} 有两种不同的设置",
        "All devices of a serial line share baud, parity and stop bits.",
        "同一串口线路上的设备必须使用相同的波特率、校验和停止位。"),
    "time_zone": Text(
        TIME_ZONE, 'there is no time zone "{name}"', "没有时区“{name}”",
        'Write a name of the tz database, for instance "Asia/Shanghai".',
        "请填写 tz 数据库中的名称,例如 “Asia/Shanghai”。"),
    "no_file": Text(
        FILE, "the file {path} is not there", "文件 {path} 不存在",
        "Put it there, or correct the path; it starts at the folder of the site file.",
        "请放置该文件或更正路径;相对路径从站点文件所在目录开始。"),
    "bad_file": Text(
        FILE, "the file {path} cannot be read: {error}", "文件 {path} 无法读取:{error}",
        "Save it as UTF-8 and allow this user to read it.", "请保存为 UTF-8 并允许当前用户读取。"),
    "broker": Text(
        BROKER, 'broker = "{broker}" is not a broker', 'broker = "{broker}" 不是有效的 broker 地址',
        "Write mqtt://host:1883 or mqtts://host:8883; the password goes into password_file.",
        "请写成 mqtt://主机:1883 或 mqtts://主机:8883;密码放在 password_file 中。"),
    "needs": Text(
        MISSING, "{key} needs the key {other}", "{key} 需要键 {other}",
        "Add {other}, or leave {key} out.", "请添加 {other},或去掉 {key}。"),
    "mqtts": Text(
        MISSING, "mqtts needs the key ca_file", "mqtts 需要键 ca_file",
        'Add it, for instance ca_file = "/etc/ssl/certs/ca-certificates.crt".',
        "请添加,例如 ca_file = “/etc/ssl/certs/ca-certificates.crt”。"),
    "transformer": Text(
        IMPLAUSIBLE, "import_kw = {limit:g} is more than transformer_kva = {kva:g}",
        "import_kw = {limit:g} 超过 transformer_kva = {kva:g}",
        "The transformer will be the limit; check both.", "将由变压器限制;请核对两者。"),
}  # fmt: skip
"""Texts of everything that pydantic does not find."""


def problem(language: str, rule: str, /, **fill: object) -> Problem:
    """Return the problem ``rule`` of RULES with its blanks filled; its place is still empty."""
    text = RULES[rule]
    short = {key: shorten(value) if isinstance(value, str) else value for key, value in fill.items()}
    what = tr(language, text.en, text.zh).format_map(short)
    do = tr(language, text.do_en, text.do_zh).format_map(short)
    return Problem(text.code, "", what, do, "warning" if text.code == IMPLAUSIBLE else "error")


def words(language: str, kind: str, key: str, value: object, context: Mapping[str, Any]) -> tuple[str, ...]:
    """Return code, what and do of one pydantic error.

    Args:
        language: of the texts.
        kind: pydantic's error type.
        key: name of the key, for instance ``import_kw``.
        value: what the file says.
        context: pydantic's context of the error.
    """
    text = TEXTS.get(kind, OTHER)
    fill = {**context, "key": key, "type": kind}
    what = f"{key} = {shown(value)} " + tr(language, text.en, text.zh).format_map(fill)
    return text.code, what, tr(language, text.do_en, text.do_zh).format_map(fill)


def shown(value: object) -> str:
    """Return a value about as TOML writes it, never long."""
    match value:
        case dict():
            return "{ … }"
        case list():
            return "[ … ]"
        case str() | bool():
            return shorten(json.dumps(value, ensure_ascii=False))
        case _:
            return shorten(str(value))


def shorten(text: str) -> str:
    """Return the text, its end left out when it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def syntax(language: str, message: str) -> tuple[str, str]:
    """Return what and do of a message of tomllib (without its position)."""
    for beginning, (en, zh, do_en, do_zh) in SYNTAX_TEXTS.items():
        if message.startswith(beginning):
            return tr(language, en, zh), tr(language, do_en, do_zh)
    what = tr(language, f"this is not TOML ({message})", f"不符合 TOML 语法({message})")
    return what, tr(language, "Correct the line.", "请更正这一行。")
