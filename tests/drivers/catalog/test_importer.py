"""From a vendor's table to a catalog file, and from there to values: a new device without programming."""

import time
from pathlib import Path

import numpy as np
import pytest

from drivers.catalog import loader
from drivers.catalog.importer import About, Imported, import_csv
from drivers.catalog.lint import lint
from drivers.catalog.loader import read_product
from drivers.driver import Counters
from drivers.modbus.build import open_devices
from drivers.modbus.spec import ModbusSpec
from drivers.simulator.product import ProductDevice
from drivers.simulator.product_server import ProductServer
from models.point import Quality, Role

CHINESE = """\
储能电池管理系统点表 V1.2,,,,,,,
序号,寄存器地址,名称,数据类型,单位,系数,读写,功能码
1,0x0100,电池簇SOC,U16,%,0.1,R,04
2,0x0101,簇总电压,无符号16位整数,V,0.1,只读,04
3,0x0102,簇总电流,S16,A,0.1,R,04
4,0x0103,最大允许充电电流,U16,A,0.1,R,04
5,0x0104,单体最高电压,U16,mV,1,R,04
6,0x0105,累计充电电量,U32,kWh,0.1,R,04
7,0x0107,告警字1,U16,,,R,04
8,0x0108,开机命令,U16,,,只写,03
9,abc,坏行,U16,,,R,04
10,0x0106,重叠,U16,,,R,04
11,0x0120,设定值,U16,kW,1/10,读写,03
12,0x0121,怪类型,BCD,,,R,03
"""
ENGLISH = """\
Register Address;Signal Name;Data Type;Gain;Unit;R/W
30001;Total active power;INT32;1000;kW;RO
30003;Grid frequency;UINT16;100;Hz;RO
30004;Import energy;UINT32;100;kWh;RO
40001;Mode;UINT16;1;;RW
40002-40003;Limit;FLOAT32;;kW;RW
"""


def about(base: int = 0, plain: bool = False) -> About:
    return About("Acme", "BMS 9", "bms", "table.csv", base, plain)


def product_of(tmp_path: Path, made: Imported) -> loader.Product:
    path = tmp_path / "acme" / "x.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(made.text, "utf-8")
    return read_product(path, "acme/x")


def test_a_chinese_table(tmp_path: Path) -> None:
    made = import_csv(CHINESE, about())
    product = product_of(tmp_path, made)
    by = {spec.name: spec for spec in product.points}
    assert {spec.role for spec in product.points} == {
        Role.SOC, Role.DC_V, Role.DC_A, Role.CHARGE_LIMIT_A, Role.CELL_V_MAX, Role.E_CHARGED_KWH, Role.OTHER,
    }  # fmt: skip
    assert (by["soc"].fn, by["soc"].address, by["soc"].scale) == (4, 256, pytest.approx(0.001))
    assert by["cell_v_max"].scale == pytest.approx(0.001), "mV became V"
    assert (by["r3_288"].address, by["r3_288"].scale) == (288, pytest.approx(0.1))
    assert not [p for p in lint(product) if p.severity == "error"]


def test_what_cannot_be_understood_is_listed_with_its_line() -> None:
    made = import_csv(CHINESE, about())
    assert [(r.line, r.reason) for r in made.rejected] == [
        (10, "it is only written; points are what is read"),
        (11, "address 'abc' is no number"),
        (12, "its registers are those of line 8"),
        (14, "data type 'BCD' is not known"),
    ]


def test_roles_are_proposals_that_stand_in_the_file() -> None:
    made = import_csv(CHINESE, about())
    assert ("dc_a", Role.DC_A, "簇总电流") in made.roles
    assert (
        "# review: role dc_a is proposed for «簇总电流», line 5: check that discharge is positive"
        in made.text
    )
    assert 'tested_on = "nothing"' in made.text


def test_numbers_like_40001_are_references_and_gain_divides(tmp_path: Path) -> None:
    made = import_csv(ENGLISH, about())
    by = {spec.name: spec for spec in product_of(tmp_path, made).points}
    assert (by["p_kw"].fn, by["p_kw"].address, by["p_kw"].scale) == (4, 0, pytest.approx(0.001))
    assert (by["frequency_hz"].fn, by["frequency_hz"].address, by["frequency_hz"].scale) == (4, 2, 0.01)
    assert (by["mode"].fn, by["mode"].address) == (3, 0)
    assert (by["limit"].type, by["limit"].address) == ("f32", 1)
    assert any("40001 is holding register 0" in said for said in made.statements)


@pytest.mark.parametrize(
    ("table", "plain", "why"),
    [
        (ENGLISH, True, "somebody said so"),
        (ENGLISH.replace("40001;", "100;"), False, "one of them is no such number"),
    ],
)
def test_numbers_like_40001_can_be_addresses(tmp_path: Path, table: str, plain: bool, why: str) -> None:
    made = import_csv(table, about(plain=plain))
    by = {spec.name: spec for spec in product_of(tmp_path, made).points}
    assert (by["p_kw"].fn, by["p_kw"].address) == (3, 30001), why
    assert any("as they are on the wire" in said for said in made.statements)
    assert any("3 (holding registers) was taken" in said for said in made.statements)


@pytest.mark.parametrize(
    ("text", "address"),
    [("16", 16), ("0x10", 16), ("10H", 16), ("$10", 16), ("16-17", 16), ("16~17", 16)],
)
def test_ways_to_write_an_address(tmp_path: Path, text: str, address: int) -> None:
    table = f"address,name,type,function\n{text},voltage,u16,3\n"
    assert product_of(tmp_path, import_csv(table, about())).points[0].address == address
    assert product_of(tmp_path, import_csv(table, about(base=1))).points[0].address == address - 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,,u16,3", "it has no name"),
        ("1,x,u16,9", "register kind '9' is not known"),
        ("1,x,u16,1", "function 1 does not read u16"),
        ("1,x,bit,3", "function 3 does not read bit"),
        ("70000,x,u16,3", "address '70000' leads to 70000, which is none"),
        ("1,x,string,3", "it does not say how many registers the text has"),
    ],
)
def test_why_a_row_is_left_out(row: str, reason: str) -> None:
    made = import_csv(f"address,name,type,function\n{row}\n", about())
    assert [(r.line, r.reason) for r in made.rejected] == [(2, reason)]


@pytest.mark.parametrize("text", ["", "a,b,c\n1,2,3\n", "address,name\n1,x\n"])
def test_a_table_without_titles_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"titles|data type"):
        import_csv(text, about())


def test_texts_and_bits(tmp_path: Path) -> None:
    table = "地址,名称,类型,功能码,长度\n10,型号,字符串,03,8\n0,急停,位,02,\n20,序列号,ASCII(10),03,10\n"
    product = product_of(tmp_path, import_csv(table, about()))
    assert [(t.address, t.registers) for t in product.texts] == [(10, 8), (20, 10)]
    assert [(p.fn, p.type) for p in product.points] == [(2, "bit")]


class Sink:
    def __init__(self, size: int) -> None:
        self.value, self.quality = np.full(size, np.nan), np.zeros(size, np.uint8)

    def put(self, index, value, quality, t_ns) -> None:
        self.value[index], self.quality[index] = value, quality

    def count(self, counters: Counters) -> None:
        """Nothing to do."""


def test_a_new_device_is_read_without_a_line_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "acme" / "bms9.toml"
    path.parent.mkdir()
    path.write_text(import_csv(CHINESE, about()).text, "utf-8")
    monkeypatch.setattr(loader, "FOLDER", tmp_path)

    device = ProductDevice(path)
    device.put("soc", 0.635)
    device.put("dc_v", 768.4)
    device.put("dc_a", -41.5)
    device.put("cell_v_max", 3.412)
    device.put("e_charged_kwh", 123456.7)
    with ProductServer(device) as server:
        product = loader.load_product("acme/bms9")
        sink = Sink(len(product.points))
        spec = ModbusSpec("bms-9", "battery-9", "acme/bms9", server.url, 1, None, sink)
        (driver,) = open_devices([spec], lambda code, name, what: None)
        driver.start()
        end = time.monotonic() + 10.0
        while not (sink.quality == Quality.GOOD).all() and time.monotonic() < end:
            time.sleep(0.005)
        driver.stop()
    got = {spec.name: value for spec, value in zip(product.points, sink.value, strict=True)}
    assert got["soc"] == pytest.approx(0.635)
    assert got["dc_v"] == pytest.approx(768.4)
    assert got["dc_a"] == pytest.approx(-41.5)
    assert got["cell_v_max"] == pytest.approx(3.412)
    assert got["e_charged_kwh"] == pytest.approx(123456.7)
