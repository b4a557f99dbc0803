import pytest
from tests.report.lab.factory import fake_lab_results

from palimpsest.lab.runs.measures import MEASURES, measures_of


def test_every_measure_of_the_list_is_measured_and_no_other() -> None:
    row = measures_of(fake_lab_results())
    ends = {f"{name}_{end}" for name in MEASURES for end in ("low", "high")}
    assert set(MEASURES) <= row.keys() <= set(MEASURES) | ends


def test_shares_of_the_growth_add_up_to_one() -> None:
    row = measures_of(fake_lab_results())
    # The excess grew from 0.20 to 0.55, the inference part from 0.04 to 0.20.
    assert row["inference_share"] == pytest.approx(0.16 / 0.35)
    parts = [row[f"{part}_share"] for part in ("inference", "overlap", "bias", "variance")]
    assert sum(part for part in parts if part is not None) == pytest.approx(1.0)


def test_half_of_the_forgetting_is_looked_up_on_the_curve() -> None:
    # On D_cont 0.75, 0.95, 1.15 at steps 0, 10, 150.
    assert measures_of(fake_lab_results())["steps_to_half"] == 10.0
    results = fake_lab_results()
    flat = results.model_copy(update={"curve": [results.curve[0], results.curve[0]]})
    assert measures_of(flat)["steps_to_half"] is None


def test_the_recovery_at_few_exemplars_takes_the_prefixes_of_one_to_d() -> None:
    results = fake_lab_results()
    base, tuned, scaled = (
        sum(one.values[k] or 0.0 for k in (1, 2, 3, 4))
        for name in ("base", "tuned", "scale:2")
        for one in results.by_exemplars
        if one.name == name
    )
    found = measures_of(results)["recovery_scaling_few"]
    assert found == pytest.approx((tuned - scaled) / (tuned - base))


def test_recovery_is_undefined_where_nothing_was_forgotten() -> None:
    row = measures_of(fake_lab_results(forgets=False))
    names = ("recovery_rotation", "recovery_scaling", "net_recovery_scaling")
    assert [row[name] for name in (*names, "recovery_scaling_few")] == [None] * 4


def test_one_member_of_an_ensemble_is_not_taken_for_sixteen() -> None:
    results = fake_lab_results()
    sixteen = next(one for one in results.conjugations if one.name == "rotations:4")
    more = sixteen.model_copy(update={"name": "rotations:16", "n_members": 16})
    results = results.model_copy(update={"conjugations": [*results.conjugations, more]})
    assert measures_of(results)["recovery_rotation"] == 0.05
