"""The nearest known key to forty typing mistakes."""

from edge.config_tables import TABLES
from edge.suggest import nearest

TYPOS = {
    "limits": """
        import_kW:import_kw inport_kw:import_kw export:export_kw
        exprot_kw:export_kw transformer:transformer_kva transfomer_kva:transformer_kva
        ramp_kw_s:ramp_kw_per_s ramp:ramp_kw_per_s margin:margin_kw
        marign_kw:margin_kw
    """,
    "site": """
        nane:name Name:name timezone:time_zone
        time-zone:time_zone tz_zone:time_zone statedir:state_dir
        state_dri:state_dir rundir:run_dir
    """,
    "battery": """
        pmax_kw:p_max_kw p_max:p_max_kw p_min_kW:p_min_kw
        s_max_kav:s_max_kva capacity:capacity_kwh capacity_kw:capacity_kwh
        capicity_kwh:capacity_kwh socmin:soc_min soc_mx:soc_max
        eff_charging:eff_charge eff_dischrage:eff_discharge wear:wear_cny_per_kwh
    """,
    "meter": """
        delay:delay_s dealy_s:delay_s
    """,
    "device": """
        unitid:unit_id prodcut:product lnik:link
    """,
    "cycle": """
        period:period_ms fifo_prio:fifo_priority
    """,
    "fleet": """
        borker:broker fleet_key:fleet_keys
    """,
    "tariff": """
        fiel:file
    """,
}
"""Table: wrong key, colon, the key that was meant."""


def test_at_least_nine_of_ten_typos_are_understood() -> None:
    pairs = [(table, *pair.split(":")) for table, text in TYPOS.items() for pair in text.split()]
    guesses = [(typo, meant, nearest(typo, TABLES[table].model_fields)) for table, typo, meant in pairs]
    wrong = [row for row in guesses if row[1] != row[2]]
    assert len(guesses) == 40
    assert len(wrong) <= 4, wrong


def test_what_is_far_from_everything_gets_no_guess() -> None:
    assert nearest("zzzzzz", ["import_kw", "export_kw"]) is None
    assert nearest("x", []) is None
