"""What tests/engines/test_hosts.py starts: a process of `jax.distributed` that trains with the others."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

import chainrule as cr
from tests.engines import share


def main() -> None:
    out, kinds, options = Path(sys.argv[1]), sys.argv[2].split(","), json.loads(sys.argv[3])
    port, count, number = (int(text) for text in sys.argv[4:])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # pyright: ignore[reportUnknownMemberType]
    jax.distributed.initialize(f"localhost:{port}", count, number)
    (out / f"pid{number}").write_text(str(os.getpid()))
    saved = out / "model.safetensors"
    for kind in kinds:
        made = share.model(kind, "float64")
        given: dict[str, Any] = {k: v for k, v in options.items() if k != "save"}
        given["callbacks"] = [cr.Checkpoint(saved, every=16, epochs=False)] if options.get("save") else []
        history = share.fit(made, kind, executor="jax", **given)
        digest = float(sum(np.abs(a).sum() for a in made.parameters.values()))
        seen = {"losses": history.loss, "held": history.val_loss, "steps": made.training.steps, "digest": digest}
        (out / f"{kind}{number}.json").write_text(json.dumps(seen))
        if number == 0:
            made.save(out / f"{kind}.safetensors")


if __name__ == "__main__":
    main()
