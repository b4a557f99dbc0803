"""A configuration so small that a whole run takes a second, and learns nothing."""

from __future__ import annotations

from pathlib import Path

from palimpsest.lab.runs.config import Config, load_config

MICRO = """
preset = "tiny"
name = "micro"
seed = 0
device = "cpu"
n_threads = 1

[problem]
n_dims = 2
n_tasks = 3
n_exemplars = 4

[model]
width = 8
n_layers = 1

[pretrain]
until = "steps"
n_steps = 30
batch_size = 8
targets = "sampled"
full_every = 1
schedule = "linear"
n_warmup_steps = 2
average = 0.0
save_every = 7

[finetune]
n_steps = 8
batch_size = 8
n_warmup_steps = 2
save_every = 3

[measure]
n_prompts = 120
n_curve_prompts = 40
n_curve_points = 3
n_resamples = 50
ensemble_sizes = [1, 2, 4]
label_factors = [2.0]

[remedies]
replay = [0.25]
lora_rank = []
l2_sp = []
kl = []
interpolation = [0.5]
"""

NO_REMEDIES = ("remedies.replay=[]", "remedies.interpolation=[]")


def micro_file(folder: Path) -> Path:
    """Write the configuration and return the path of the file."""
    path = folder / "micro.toml"
    path.write_text(MICRO, "utf-8")
    return path


def micro_config(folder: Path, *settings: str, seed: int | None = None) -> Config:
    """Return the configuration with some values set anew."""
    return load_config(str(micro_file(folder)), settings, seed=seed)
