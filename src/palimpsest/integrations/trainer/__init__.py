"""Watch what fine-tuning does to abilities while it runs: a callback for the Trainer and for TRL.

.. code-block:: python

    trainer = Trainer(model=model, args=args, train_dataset=data, processing_class=tokenizer)
    trainer.add_callback(ForgettingCallback(trainer, "icl-vs-if", via=["leet"], every=50))
    trainer.train()
"""

from palimpsest.integrations.trainer.callback import ForgettingCallback
from palimpsest.records.measurements import Measurement, read_measurements

__all__ = ["ForgettingCallback", "Measurement", "read_measurements"]
