"""Parts of a training loop: optimisers, schedules, checkpoints, interrupts, devices."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.training.checkpoints import (
        check_same,
        differences,
        fingerprint,
        flattened,
        load_state,
        read_tensors,
        save_state,
        saved_step,
        write_tensors,
    )
    from palimpsest.training.devices import (
        Cores,
        OneProcess,
        Processes,
        chosen_device,
        divided_cores,
        find_processes,
        map_on_cores,
    )
    from palimpsest.training.optimisers import (
        OPEN_SCHEDULES,
        OPTIMISERS,
        SCHEDULES,
        Rated,
        make_optimisers,
        rate_scale,
        update,
    )
    from palimpsest.training.progress import (
        Board,
        Clock,
        Interrupts,
        OnProgress,
        Progress,
        noticed_interrupts,
        sigterm_raises,
    )

__all__ = [
    "OPEN_SCHEDULES", "OPTIMISERS", "SCHEDULES",
    "Board", "Clock", "Cores", "Interrupts", "OnProgress", "OneProcess",
    "Processes", "Progress", "Rated", "check_same", "chosen_device", "differences", "divided_cores",
    "find_processes", "fingerprint", "flattened", "load_state", "make_optimisers", "map_on_cores",
    "noticed_interrupts", "rate_scale", "read_tensors", "save_state", "saved_step",
    "sigterm_raises", "update", "write_tensors",
]  # fmt: skip

lazy_face(globals())
