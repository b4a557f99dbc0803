"""Callback for the Trainer and for TRL: what fine-tuning does to abilities while it runs.

.. code-block:: python

    trainer = Trainer(model=model, args=args, train_dataset=data, processing_class=tokenizer)
    trainer.add_callback(ForgettingCallback(trainer, "icl-vs-if", via=["leet"], every=50))
    trainer.train()
"""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.integrations.trainer.callback import ForgettingCallback
    from palimpsest.records import Measurement, read_measurements

__all__ = ["ForgettingCallback", "Measurement", "read_measurements"]

lazy_face(globals())
