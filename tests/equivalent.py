"""Mutants that nobody can notice, by file: the change, and why it changes nothing."""

EQUIVALENT: dict[str, dict[str, str]] = {
    "control/arbitrate.py": {
        "forced = 0 if not too_far else 1 if reach.lo_kw > held_kw else -1  [Gt -> GtE]": (
            "when the ramp does not meet the envelope, what is held is not in the envelope"
        ),
    },
    "control/estimate.py": {
        "nothing_known = initial(site, [0.0] * len(site.batteries))  [0.0 -> 1.0]": (
            "setpoints make nothing known"
        ),
        "if at_ns >= t_ns[last]:  [GtE -> Gt]": "at a sample both sides give the sample",
        "if before <= at_ns:  [LtE -> Lt]": "at a sample both sides give the sample",
    },
    "control/limits/bms.py": {
        "if not 0.0 < seen.dc_v <= DC_V_MAX:  [Lt -> LtE]": "zero volts are zero power either way",
    },
}
