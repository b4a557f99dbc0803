"""Write what the docs take from the code and from the embedded pair: ``python docs/build.py``.

- ``docs/cli.md``: every command's ``--help``.
- ``docs/results.schema.json``: the JSON Schema of ``results.json``, and
  ``docs/lab-results.schema.json`` that of the laboratory's; ``docs/trace.schema.json`` and
  ``docs/restore.schema.json`` those of ``trace.json`` and ``restore.json``, and
  ``docs/plan.schema.json`` that of ``plan.json``.
- ``docs/claims.md``: figures and verdicts from the tables in ``experiments/lab``, and the rules.
- ``docs/how-to/lab.md``: the table of the bases that come with the package.
- ``docs/real-models.md``: figures and verdicts from the table in ``experiments/real``.
- ``docs/verdicts.md``: errors and savings from the tables in ``experiments/until_sure``, coverage
  from that in ``experiments/pooling``.
- ``docs/rosetta.md``: the table of the pair's manifest, and the figure of its tuning.
- ``README.md``: verdict, table and figure of a demo that is run for it, and the front of a
  restoration of the same pair.

With ``--check`` no model is asked and nothing is written; the exit code is 1 if a page is not as
the code and the manifest say.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
FIGURES = DOCS / "figures"
SWEEPS = DOCS.parent / "experiments" / "lab"
OF_TUNING = (
    "alpha_tuned",
    "learnt_disc",
    "forgetting",
    "inference_share",
    "bias_share",
    "nearest_minus_farthest_odds",
    "recovery_scaling",
    "recovery",
)
"""What is shown of light and heavy tunings."""
OF_SIZES = (
    "share_of_mixture",
    "alpha_base",
    "g_hat_discrete",
    "g_hat_mixture",
    "forgetting",
    "inference_share",
    "nearest_minus_farthest_odds",
    "recovery_scaling",
    "net_recovery",
)
"""What is shown of numbers of tasks and of widths."""
SHOWN_OF_SWEEPS = {
    "curve": (
        "pretrain.n_steps",
        None,
        [
            "share_of_mixture",
            "alpha_base",
            "g_hat_discrete",
            "nearest_minus_farthest_odds",
            "inference_share",
            "recovery_scaling",
            "recovery",
        ],
    ),
    "finetune_steps": (
        "finetune.n_steps",
        None,
        ["forgetting", "recovery", "net_recovery", "bias_share", "nearest_minus_farthest"],
    ),
    "new_tasks": (
        "finetune.n_steps",
        "new_tasks",
        ["forgetting", "recovery", "net_recovery", "inference_share", "bias_share"],
    ),
    "n_tasks": (
        "problem.n_tasks",
        None,
        ["g_hat_discrete", "forgetting", "net_recovery", "inference_share", "recovery_scaling"],
    ),
    "width": (
        "model.width",
        None,
        ["share_of_mixture", "forgetting", "net_recovery", "inference_share", "bias_share"],
    ),
    "n_tasks_long": ("problem.n_tasks", None, [*OF_SIZES]),
    "width_long": ("model.width", None, [*OF_SIZES]),
    "tuning": ("finetune.n_steps", None, [*OF_TUNING]),
    "new_tuning": ("finetune.n_steps", None, [*OF_TUNING]),
    "ways": (
        "tuned_with",
        None,
        [
            "alpha_tuned",
            "learnt_disc",
            "forgetting",
            "inference_gain",
            "bias_gain",
            "nearest_minus_farthest_odds",
            "recovery_scaling",
            "recovery",
        ],
    ),
}
"""Name of a sweep's table to the key, the key of the groups, and the measures that are shown."""
JUDGED = ("converged", "long", "small", "quadratic", "fourier", "claims")
"""Sweeps over seeds, by which C1 to C5 are judged."""
N_TASKS = 4
"""Tasks in the discrete set of the preset `tiny`."""
AS_THE_PRESET = {"n_tasks_long": ("problem.n_tasks", N_TASKS), "width_long": ("model.width", 64)}
"""Sweep to its key and what the preset `tiny` has there, which `long` has been run with."""
N_TUNED = 100
"""Steps of tuning at `tiny`."""
REGIMES = (
    "share_of_mixture",
    "alpha_base",
    "g_hat_discrete",
    "g_hat_mixture",
    "alpha_tuned",
    "forgetting",
    "nearest_minus_farthest",
    "nearest_minus_farthest_odds",
    "inference_share",
    "bias_share",
    "variance_share",
    "recovery_scaling",
    "recovery_scaling_few",
    "recovery",
    "net_recovery",
)
"""What short trainings and converged ones are compared by."""
CURVES = {
    "The base": {
        "alpha_base": "α̂ (true: 0.5)",
        "g_hat_discrete": "ĝ on D_disc",
        "share_of_mixture": "missing on D_mix",
    },
    "C3, near − far": {
        "nearest_minus_farthest": "by likelihood",
        "nearest_minus_farthest_odds": "by odds",
    },
    "C4 and C5": {
        "recovery_scaling": "labels × 1.5",
        "net_recovery": "32 rotations, net",
        "inference_share": "inference",
    },
}
"""Heading of each panel of the curve to its measures and what their lines are called."""
DEMO_RUN = DOCS.parent / "build" / "demo"


def pages() -> Iterator[tuple[Path, str]]:
    """Yield every generated page with its text."""
    yield DOCS / "cli.md", cli_reference()
    yield DOCS / "results.schema.json", results_schema()
    yield DOCS / "lab-results.schema.json", lab_results_schema()
    yield DOCS / "trace.schema.json", family_schema("Trace")
    yield DOCS / "restore.schema.json", family_schema("Restoration")
    yield DOCS / "plan.schema.json", plan_schema()
    yield DOCS / "rosetta.md", rosetta_page()
    yield DOCS / "claims.md", claims_page()
    yield DOCS / "how-to" / "lab.md", laboratory_page()
    yield DOCS / "real-models.md", real_models_page()
    yield DOCS / "verdicts.md", verdicts_page()


def cli_reference() -> str:
    """Return the help of every command as Markdown."""
    from typer.main import get_command

    from palimpsest.cli.main import app

    parts = ["# Command line\n\nWritten by `make docs` from each command's `--help`."]
    for command in _commands(get_command(app)):
        name = " ".join(("palimpsest", *command))
        parts.append(f"## `{name}`\n\n```text\n{_help(command)}\n```")
    return "\n\n".join(parts) + "\n"


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of a command and of all commands below it."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, (*path, name))


def results_schema() -> str:
    """Return the JSON Schema of ``results.json``."""
    from palimpsest.records.results import Results

    return json.dumps(Results.model_json_schema(by_alias=True), indent=2) + "\n"


def lab_results_schema() -> str:
    """Return the JSON Schema of the laboratory's ``results.json``."""
    from palimpsest.records.lab_results import LabResults

    return json.dumps(LabResults.model_json_schema(by_alias=True), indent=2) + "\n"


def family_schema(name: str) -> str:
    """Return the JSON Schema of the record of a trace or a restoration."""
    from palimpsest.records import families

    return json.dumps(getattr(families, name).model_json_schema(by_alias=True), indent=2) + "\n"


def plan_schema() -> str:
    """Return the JSON Schema of ``plan.json``."""
    from palimpsest.records.plans import EvaluationPlan

    return json.dumps(EvaluationPlan.model_json_schema(by_alias=True), indent=2) + "\n"


def rosetta_page() -> str:
    """Return the page on the embedded pair with its measured table put in."""
    from palimpsest.rosetta.manifest import cells_table, means_table, read_manifest

    _, manifest = read_manifest(None)
    page = (DOCS / "rosetta.md").read_text("utf-8")
    page = between(page, "table", means_table(manifest))
    page = between(page, "cells", cells_table(manifest))
    return between(page, "command", f"```bash\n{manifest.command}\n```")


def claims_page() -> str:
    """Return the page on the paper's claims with figures, verdicts, rules and sweeps put in."""
    from palimpsest.lab.runs.claims import judge_claims
    from palimpsest.lab.runs.observer import observe
    from palimpsest.lab.runs.tables import (
        bases_table,
        claims_table,
        compared,
        correlations,
        observed_table,
        rules_list,
        summary,
    )
    from palimpsest.lab.runs.tuning_claims import C10, C11, judge_ways

    page = (DOCS / "claims.md").read_text("utf-8")
    for name in JUDGED:
        page = between(page, name, claims_table(list(judge_claims(sweep_table(name)))))
        if name != "claims":  # its bases were never measured by prompts of their own
            page = between(page, f"{name}-bases", bases_table(sweep_table(name)))
    page = between(page, "regimes", compared(regimes(), REGIMES))
    page = between(page, "rules", rules_list())
    for name, (over, by, measures) in SHOWN_OF_SWEEPS.items():
        text = summary(sweep_table(name), over=over, by=by, measures=measures)
        page = between(page, name, text)
    page = between(page, "tuning_rules", rules_list([C10, C11]))
    observed = observe(sweep_table("threshold"))
    page = between(page, "threshold", f"{observed_table(observed)}\n\n{correlations(observed)}")
    judged = list(judge_ways(sweep_table("ways")))
    return between(page, "ways-claims", claims_table(judged))


def laboratory_page() -> str:
    """Return the how-to of the laboratory with the table of the package's bases put in."""
    from palimpsest.lab.runs import table_of_bases

    return between((DOCS / "how-to" / "lab.md").read_text("utf-8"), "bases", table_of_bases())


def real_models_page() -> str:
    """Return the page on real models with verdicts, figure and tables put in."""
    sys.path.insert(0, str(DOCS.parent))
    from experiments.cure import claims as cures
    from experiments.real import claims, closeness

    page = (DOCS / "real-models.md").read_text("utf-8")
    outcomes = claims.read()
    for name, text in claims.parts(outcomes, closeness.verdicts(outcomes)).items():
        page = between(page, name, text)
    page = between(page, "cures", cures.summary(cures.read()))
    return between(page, "healing", cures.healing_summary())


def verdicts_page() -> str:
    """Return the page on verdicts with the tables of runs in rounds put in."""
    sys.path.insert(0, str(DOCS.parent))
    from experiments.pooling import run as pooling
    from experiments.until_sure import claims

    page = (DOCS / "verdicts.md").read_text("utf-8")
    page = between(page, "pooling", pooling.summary())
    return between(page, "until-sure", claims.summary())


def real_models_figure() -> Any:
    """Return the figure of the experiment on real models."""
    sys.path.insert(0, str(DOCS.parent))
    from experiments.real import claims, figure

    return figure.drawing(claims.read())


def sweep_table(name: str) -> list[dict[str, Any]]:
    """Return the committed table of a sweep, with what other sweeps have of the same trainings."""
    from palimpsest.lab.runs.tables import read_csv

    rows = read_csv((SWEEPS / f"{name}.csv").read_text("utf-8"))
    if name in AS_THE_PRESET:
        key, value = AS_THE_PRESET[name]
        rows += [{**row, key: value} for row in sweep_table("long")]
        return sorted(rows, key=lambda row: row[key])
    if name == "tuning":  # tuned for as long as the preset says, these bases are in another sweep
        seeds = {row["seed"] for row in rows}
        known = (*sweep_table("beyond"), *sweep_table("long"))
        usual = [row for row in known if row["seed"] in seeds]
        rows += [{**row, "finetune.n_steps": N_TUNED} for row in usual]
        return sorted(rows, key=lambda row: (row["seed"], row["finetune.n_steps"]))
    return rows


def regimes() -> dict[str, list[dict[str, Any]]]:
    """Return the runs at `tiny`, all tuned for 100 steps, by how long their bases were trained."""
    before = [row for row in sweep_table("n_tasks") if row["problem.n_tasks"] == N_TASKS]
    ended = sweep_table("converged")
    return {
        "1,000 steps of 0.1.0": before,
        "until converged": ended,
        "4,000 steps": sweep_table("long"),
    }


def write_curve() -> None:
    """Draw the claims against the steps of the pretraining."""
    from palimpsest.lab.runs.tables import growth_lines
    from palimpsest.report.lab import growth_drawing

    table = sweep_table("curve")
    panels = {heading: growth_lines(table, measures) for heading, measures in CURVES.items()}
    title = "What tuning hides, by how long the base has learnt to infer"
    drawing = growth_drawing("lab-curve", title, "steps of pretraining", panels)
    FIGURES.mkdir(exist_ok=True)
    for ending, content in drawing.files().items():
        (FIGURES / f"{drawing.name}.{ending}").write_bytes(content)


def write_stored_figures() -> None:
    """Draw the trace and Gemma's front from the records of runs that are committed."""
    from palimpsest.records import Restoration, Trace
    from palimpsest.report.families import RESTORATION_FIGURES, TRACE_FIGURES

    tables = DOCS.parent / "experiments"
    traced = tables / "tables" / "trace-rosetta.json"
    restored = tables / "cure" / "tables" / "restore-gemma-full.json"
    if traced.exists():
        record = Trace.model_validate_json(traced.read_bytes())
        _write_png(TRACE_FIGURES.drawings(record), "trace", "trace")
    if restored.exists():
        cured = Restoration.model_validate_json(restored.read_bytes())
        _write_png(RESTORATION_FIGURES.drawings(cured), "front", "gemma-front")


def _write_png(drawings: Iterable[Any], name: str, called: str) -> None:
    [drawing] = [each for each in drawings if each.name == name]
    (FIGURES / f"{called}.png").write_bytes(drawing.files()["png"])


def between(page: str, name: str, text: str) -> str:
    """Put ``text`` between the markers called ``name``."""
    opening, closing = f"<!-- {name}: written by `make docs` -->", f"<!-- /{name} -->"
    head, found, rest = page.partition(opening)
    _, also_found, tail = rest.partition(closing)
    if not (found and also_found):
        raise RuntimeError(f"The markers of '{name}' are missing.")
    return f"{head}{opening}\n{text}\n{closing}{tail}"


def write_demo() -> None:
    """Run the demo, and put its verdict, table and figure into the README."""
    import palimpsest
    from palimpsest.report.diagnosis.tables import markdown_table
    from palimpsest.rosetta.figure import curve_drawing
    from palimpsest.rosetta.manifest import read_manifest

    results = palimpsest.diagnose(
        base="rosetta:base", tuned="rosetta:tuned", suite="rosetta", out=DEMO_RUN
    )
    FIGURES.mkdir(exist_ok=True)
    for name in ("accuracy", "outcomes", "recovery"):
        shutil.copyfile(DEMO_RUN / "figures" / f"{name}.png", FIGURES / f"{name}.png")
    _, manifest = read_manifest(None)
    curve = curve_drawing(manifest)
    for drawing in (curve, real_models_figure()):
        for ending, content in drawing.files().items():
            (FIGURES / f"{drawing.name}.{ending}").write_bytes(content)
    text = (
        f"`palimpsest demo` compares the embedded base model with one that was tuned on English "
        f"instructions alone. Verdict: **{results.verdict}**. {results.verdict_reason}\n\n"
        "![Base against tuned accuracy per language, with intervals](docs/figures/accuracy.png)\n\n"
        f"{markdown_table(results)}\n"
        "*Plain* is English; the other rows ask the same questions under a conjugation. The table "
        f"is over all {results.plain.base.n} examples; what the verdict says comes back is over "
        f"the {results.best.n_report if results.best else 0} that did not choose the best "
        "conjugation. Figure and table come from `palimpsest demo`."
    )
    README.write_text(between(README.read_text("utf-8"), "demo", text), "utf-8")


RESTORATION = (
    "palimpsest restore rosetta:base rosetta:tuned --suite rosetta --target rosetta-instructions"
)
"""What the README shows of a restoration."""


def write_front() -> None:
    """Restore the embedded pair, and put what comes out and its front into the README."""
    from palimpsest.families import restore

    found = restore(
        "rosetta:base",
        "rosetta:tuned",
        suite="rosetta",
        target="rosetta-instructions",
        out=DEMO_RUN,
        command=RESTORATION,
    )
    shutil.copyfile(DEMO_RUN / "figures" / "front.png", FIGURES / "front.png")
    text = (
        f"```bash\n{RESTORATION}\n```\n\n"
        "![The front: right answers on what was lost against the change of the target, for every "
        "member, with intervals](docs/figures/front.png)\n\n"
        f"*In the weights: {found.choice.outcome}.* {found.choice.reason} *Better cure: "
        f"{found.cure.outcome}.* {found.cure.reason}"
    )
    README.write_text(between(README.read_text("utf-8"), "front", text), "utf-8")


def _help(command: tuple[str, ...]) -> str:
    from typer.testing import CliRunner

    from palimpsest.cli.main import app

    os.environ["COLUMNS"] = "100"
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="palimpsest")
    if result.exit_code != 0:
        raise RuntimeError(f"palimpsest {' '.join(command)} --help failed: {result.output}")
    return result.output.rstrip()


def main() -> int:
    """Write or check the generated pages."""
    stale = []
    for path, text in pages():
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif not path.exists() or path.read_text("utf-8") != text:
            stale.append(path.name)
    if "--check" not in sys.argv:
        write_curve()
        write_stored_figures()
        write_demo()
        write_front()
    if stale:
        sys.stderr.write(f"Not as the code says: {', '.join(stale)}. Run: make docs\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
