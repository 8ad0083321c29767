"""What a change of the house must leave as it is: documents, printed C and certificates of the built-in models.

`tests/golden/output.json` keeps a digest of each. `pytest -n 0 -m campaign tests/test_same_output.py --update-golden`
writes it anew; the commit that does so says what differs and why.
"""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256
from itertools import product
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.compile import training
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine
from chainrule.targets import c

pytestmark = pytest.mark.campaign

GOLDEN = Path(__file__).parent / "golden" / "output.json"
MODELS = ("neuron", "mlp", "mlp-textbook", "seed", "lenet", "vgg-small", "resnet-tiny", "transformer-tiny")
FORMATS = ("text", "markdown", "latex", "html")
DETAILS = ("brief", "standard", "full")
STEPS = ((64, 1, True), (64, 2, True), (1, 1, True), (64, 1, False))  # samples, workers, scheduled


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def output_of(name: str) -> dict[str, object]:
    model = cr.read_model(name)
    derivation = model.derive()
    documents = {
        f"{format_} {language} {detail}": digest(getattr(derivation, f"to_{format_}")(language, detail))
        for format_, language, detail in product(FORMATS, ("en", "zh"), DETAILS)
    }
    task = training(model.network, derivation, cr.Adam(1e-3), "classes" if name != "neuron" else "numbers")
    printed = {
        f"{samples} samples, {workers} workers, {'scheduled' if scheduled else 'unscheduled'}": digest(
            c.source(lower(task, Machine(16, 24, workers), samples=samples, scheduled=scheduled))
        )
        for samples, workers, scheduled in STEPS
    }
    certificate = model.verify()
    counts = Counter(entry.tier for entry in certificate.entries)
    return {"documents": documents, "C": printed, "certificate": dict(sorted(counts.items()))}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_put_out_is_what_it_was(name: str, pytestconfig: pytest.Config) -> None:
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    found = output_of(name)
    if pytestconfig.getoption("--update-golden"):
        assert not hasattr(pytestconfig, "workerinput"), "processes would overwrite each other: -n 0"
        golden[name] = found
        GOLDEN.write_text(json.dumps(dict(sorted(golden.items())), indent=1, sort_keys=True) + "\n")
    assert found == golden[name]
