"""The words of vendors' register tables, in English and Chinese, and what they mean here."""

import re

from models.point import Role

COLUMNS = {
    "address": ("address", "addr", "register address", "start address", "modbus address", "reg", "offset",
                "地址", "寄存器地址", "起始地址", "通讯地址", "偏移"),
    "name": ("name", "parameter", "signal", "signal name", "point", "variable", "parameter name", "名称",
             "参数", "参数名称", "信号名称", "点名", "变量名", "信号", "内容"),
    "type": ("type", "data type", "datatype", "format", "data format", "数据类型", "类型", "数据格式"),
    "unit": ("unit", "units", "单位"),
    "scale": ("scale", "factor", "coefficient", "resolution", "multiplier", "scaling", "accuracy", "系数",
              "倍率", "精度", "比例", "比例系数", "分辨率"),
    "gain": ("gain", "divisor", "增益"),
    "access": ("access", "r/w", "rw", "attribute", "permission", "读写", "属性", "权限", "读写属性", "操作"),
    "register": ("register", "register type", "function", "function code", "fc", "fn", "功能码",
                 "寄存器类型", "寄存器"),
    "count": ("count", "quantity", "length", "size", "registers", "num", "数量", "长度",
              "寄存器数量", "个数"),
    "order": ("word order", "byte order", "endian", "字序", "字节序"),
    "remark": ("remark", "remarks", "note", "notes", "comment", "description", "备注", "说明", "描述"),
}  # fmt: skip
"""Column: the titles that vendors give it, in small letters."""

TYPES = (
    (r"^(u16|uint16|uint16_t|unsigned ?(short|int)?( ?16)?|ushort|word|int16u|16 ?bit|bitfield16|bitmap16"
     r"|enum16|enum|无符号(16位)?(整型|整数|短整型)?|uint)$", "u16"),
    (r"^(i16|s16|int16|int16_t|short|signed ?(short|int)?( ?16)?|int16s|有符号(16位)?(整型|整数|短整型)?|int"
     r"|integer)$", "i16"),
    (r"^(u32|uint32|uint32_t|unsigned ?(long|int ?32|32)|ulong|udint|dword|int32u|无符号32位(整型|整数)?"
     r"|无符号长整型)$", "u32"),
    (r"^(i32|s32|int32|int32_t|long|dint|signed ?(long|int ?32|32)|int32s|有符号32位(整型|整数)?"
     r"|有符号长整型)$", "i32"),
    (r"^(u64|uint64|uint64_t|ulint|无符号64位(整型|整数)?)$", "u64"),
    (r"^(i64|s64|int64|int64_t|lint|有符号64位(整型|整数)?)$", "i64"),
    (r"^(f32|float|float32|real|single|浮点(数|型)?|单精度(浮点)?(数|型)?)$", "f32"),
    (r"^(f64|double|float64|lreal|双精度(浮点)?(数|型)?)$", "f64"),
    (r"^(bit|bool|boolean|coil|位|布尔)$", "bit"),
    (r"^(string|str|ascii|char|text|字符串|字符)\W*\d*\W*$", "text"),
)  # fmt: skip

FUNCTIONS = (
    (r"^(0?x?0*1|coils?|0x|线圈)$", 1),
    (r"^(0?x?0*2|discrete( inputs?)?|1x|离散(量)?(输入)?)$", 2),
    (r"^(0?x?0*3(\D.*)?|holding( registers?)?|4x|保持(寄存器)?|遥调)$", 3),
    (r"^(0?x?0*4|input( registers?)?|3x|输入(寄存器)?)$", 4),
)

UNITS = {
    "w": ("kW", 1e-3), "kw": ("kW", 1.0), "mw": ("kW", 1e3), "va": ("kVA", 1e-3), "kva": ("kVA", 1.0),
    "var": ("kvar", 1e-3), "kvar": ("kvar", 1.0), "wh": ("kWh", 1e-3), "kwh": ("kWh", 1.0),
    "度": ("kWh", 1.0), "mwh": ("kWh", 1e3), "varh": ("kvarh", 1e-3), "kvarh": ("kvarh", 1.0),
    "v": ("V", 1.0), "mv": ("V", 1e-3), "kv": ("V", 1e3), "a": ("A", 1.0), "ma": ("A", 1e-3),
    "%": ("", 0.01), "‰": ("", 0.001),
    "hz": ("Hz", 1.0), "℃": ("degC", 1.0), "°c": ("degC", 1.0), "degc": ("degC", 1.0), "c": ("degC", 1.0),
    "摄氏度": ("degC", 1.0), "s": ("s", 1.0), "sec": ("s", 1.0), "秒": ("s", 1.0), "ms": ("s", 1e-3),
    "min": ("min", 1.0), "分钟": ("min", 1.0), "h": ("h", 1.0), "小时": ("h", 1.0), "ah": ("Ah", 1.0),
    "kω": ("kOhm", 1.0), "ω": ("kOhm", 1e-3), "-": ("", 1.0), "/": ("", 1.0),
    "na": ("", 1.0), "n/a": ("", 1.0), "无": ("", 1.0),
}  # fmt: skip
"""Unit in small letters: unit inside, and what it is times that. «mw» is MW: nobody sends milliwatts."""

ROLES = (
    (r"(?<![a-z])soc(?![a-z])|state of charge|荷电状态", Role.SOC),
    (r"(?<![a-z])soh(?![a-z])|state of health|健康(状态|度)", Role.SOH),
    (r"(最大|允许|限制).*充电电流|充电(电流)?限(值|制)电?流?"
     r"|charg\w* current limit|max\w*( allowed)? charg\w* current",
     Role.CHARGE_LIMIT_A),
    (r"(最大|允许|限制).*放电电流|放电(电流)?限(值|制)电?流?|discharg\w* current limit"
     r"|max\w*( allowed)? discharg\w* current", Role.DISCHARGE_LIMIT_A),
    (r"(最高|最大)(单体|电芯)(电池)?电压|(单体|电芯)(电池)?(最高|最大)电压"
     r"|max\w* cell volt", Role.CELL_V_MAX),
    (r"(最低|最小)(单体|电芯)(电池)?电压|(单体|电芯)(电池)?(最低|最小)电压"
     r"|min\w* cell volt", Role.CELL_V_MIN),
    (r"(最高|最大)(单体|电芯)(电池)?温度|(单体|电芯)(电池)?(最高|最大)温度"
     r"|max\w* cell temp", Role.CELL_DEGC_MAX),
    (r"(最低|最小)(单体|电芯)(电池)?温度|(单体|电芯)(电池)?(最低|最小)温度"
     r"|min\w* cell temp", Role.CELL_DEGC_MIN),
    (r"(累计|总)充电(电?量|电能)|(total|accumulated|cumulative|lifetime) charge\w* (energy|capacity)",
     Role.E_CHARGED_KWH),
    (r"(累计|总)放电(电?量|电能)|(total|accumulated|cumulative|lifetime) discharge\w* (energy|capacity)",
     Role.E_DISCHARGED_KWH),
    (r"正向有功(总)?电(能|度|量)|(import|forward)\w*( active)? energy|energy import", Role.E_IMPORT_KWH),
    (r"反向有功(总)?电(能|度|量)|(export|reverse)\w*( active)? energy|energy export", Role.E_EXPORT_KWH),
    (r"(电池|总|直流|簇)(组|堆)?(总)?电压|(pack|battery|dc|total|rack|system) volt", Role.DC_V),
    (r"(电池|总|直流|簇)(组|堆)?(总)?电流|(pack|battery|dc|total|rack|system) current", Role.DC_A),
    (r"^(总|三相|系统|电网)?(总)?有功功率$|^(total |system |grid |ac )*active power( total)?$", Role.P_KW),
    (r"^(总|三相|系统|电网)?(总)?无功功率$"
     r"|^(total |system |grid |ac )*reactive power( total)?$", Role.Q_KVAR),
    (r"(电网|交流|系统)?频率|frequency", Role.FREQUENCY_HZ),
    (r"^(a相|ua|u1|l1|phase a|a)\W?(相?电压|voltage)?$|^(phase a|l1) voltage$", Role.V_V),
)  # fmt: skip
"""What a name may mean to control; the first that fits, also in its unit. A person must confirm it."""

RANGES: dict[Role, tuple[float, float]] = {
    Role.P_KW: (-2000.0, 2000.0),
    Role.Q_KVAR: (-2000.0, 2000.0),
    Role.SOC: (0.0, 1.0),
    Role.SOH: (0.0, 1.1),
    Role.DC_V: (0.0, 1500.0),
    Role.DC_A: (-3000.0, 3000.0),
    Role.CHARGE_LIMIT_A: (0.0, 3000.0),
    Role.DISCHARGE_LIMIT_A: (0.0, 3000.0),
    Role.CELL_V_MAX: (0.0, 6.0),
    Role.CELL_V_MIN: (0.0, 6.0),
    Role.CELL_DEGC_MAX: (-60.0, 150.0),
    Role.CELL_DEGC_MIN: (-60.0, 150.0),
    Role.E_CHARGED_KWH: (0.0, 1e9),
    Role.E_DISCHARGED_KWH: (0.0, 1e9),
    Role.E_IMPORT_KWH: (0.0, 1e9),
    Role.E_EXPORT_KWH: (0.0, 1e9),
    Role.FREQUENCY_HZ: (40.0, 70.0),
    Role.V_V: (0.0, 1000.0),
}
"""What is believable for a role; rough."""


def column_of(title: str) -> str:
    """Return which column a title means; empty when it is not known."""
    plain = re.sub(r"[\s_]+", " ", title.strip().lower())
    plain = re.sub(r"[(\[（【].*$", "", plain).strip()
    return next((column for column, titles in COLUMNS.items() if plain in titles), "")


def type_of(text: str) -> str:
    """Return the register type that a vendor's word means; empty when it is not known."""
    plain = re.sub(r"\s+", " ", text.strip().lower())
    return next((kind for pattern, kind in TYPES if re.match(pattern, plain)), "")


def function_of(text: str) -> int:
    """Return the function that reads a kind of register; 0 when it is not known."""
    plain = text.strip().lower()
    return next((fn for pattern, fn in FUNCTIONS if re.match(pattern, plain)), 0)


def roles_of(name: str) -> list[Role]:
    """Return what a name may mean to control, likeliest first."""
    plain = re.sub(r"[\s_]+", " ", name.strip().lower())
    return [role for pattern, role in ROLES if re.search(pattern, plain)]
