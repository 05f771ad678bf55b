"""The words for what control calls by name, in both languages."""

from edge.cli.common import say

NAMES = {
    "none": ("nobody", "无"),
    "rated": ("nameplate of the PCS", "PCS 额定值"),
    "bms": ("limits of the BMS", "BMS 限值"),
    "soc": ("state-of-charge window", "SOC 窗口"),
    "pcs": ("state of the PCS", "PCS 状态"),
    "units": ("sum of the units", "各单元之和"),
    "transformer": ("transformer limit", "变压器限值"),
    "grid_import": ("import limit", "进口功率限值"),
    "grid_export": ("export limit (anti-backflow)", "防逆流限值"),
    "ramp": ("ramp", "爬坡限值"),
    "operator": ("operator", "现场操作员"),
    "fleet": ("fleet setpoint", "云端设定值"),
    "plan": ("plan", "计划"),
    "rules": ("fall-back rule", "后备规则"),
    "obey": ("PCS does not follow its setpoint", "PCS 未跟随设定值"),
}


def name_of(owner: str) -> str:
    """Return the words for an owner of a limit or a wish."""
    return say(*NAMES[owner]) if owner in NAMES else owner


def power(p_kw: float | None, positive: tuple[str, str], negative: tuple[str, str]) -> str:
    """Return a signed power in words: ``charge 12.3 kW`` cannot be misread, ``-12.3 kW`` can."""
    if p_kw is None:
        return say("unknown", "未知")
    words = positive if p_kw >= 0.0 else negative
    return f"{say(*words)} {abs(p_kw):.1f} kW" if abs(p_kw) >= 0.05 else "0.0 kW"


def battery_power(p_kw: float | None) -> str:
    """Return battery power in words."""
    return power(p_kw, ("discharge", "放电"), ("charge", "充电"))


def grid_power(p_kw: float | None) -> str:
    """Return grid power in words."""
    return power(p_kw, ("import", "进口"), ("export", "出口"))
