"""Parts of a training loop: optimisers, schedules, checkpoints, interrupts, devices."""
