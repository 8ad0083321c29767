"""What is printed of a drawn program: each formula read back, the listing run, documents in both languages; and whether
`verify` passes."""

from __future__ import annotations

from inspect import signature
from time import process_time
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.nn.network import needed
from chainrule.render.build import build
from chainrule.render.document import formulas
from chainrule.render.formula import write
from chainrule.render.listing import listing, variables
from chainrule.render.names import names_of
from chainrule.render.styles import UNICODE
from chainrule.verify.certificate import certify
from tests.drawn.consumers import CLOSE, SkippedError, computed, distance, point_of
from tests.drawn.subject import Fault, Subject
from tests.render.reading.compare import FORMATS, FUNCTIONS, SIGNS, Wanted, computes, unbound
from tests.render.reading.tokens import ReadingError

LONGEST = 5  # seconds that `verify` may take


def read_back(s: Subject) -> list[Fault]:
    """Every formula of the document, in each format, says what its parts mean."""
    names = {g.name for g in s.program.given} | {e.name for e in s.program.equations}
    if names & (FUNCTIONS | SIGNS) or any("·" in name for name in names):
        raise SkippedError  # the tests' readers take these names for functions, and · for a product
    document = build(s.derivation, "en", "full")
    faults = [Fault("read back text", "unbound", text) for text in unbound(document)]
    seen = {(write(f, UNICODE), f.parts): f for f in formulas(document)}
    for formula in seen.values():
        if not computes(formula):
            continue
        wanted = Wanted(formula)
        for name, (style, read) in FORMATS.items():
            try:
                wanted.check(style, read)
            except (AssertionError, LookupError, ValueError, ReadingError) as error:
                kind = type(error).__name__
                faults.append(Fault(f"read back {name}", kind, f"{write(formula, UNICODE)[:200]}: {error!s:.120}"))
    return faults


def listed(s: Subject) -> list[Fault]:
    """The NumPy listing gives the result and the gradients."""
    point = point_of(s, 0, 3)
    run = computed(s, point)
    names = names_of(s.derivation)
    source, space = listing(s.derivation, names), dict[str, Any]()
    given = {word: name for name, word in variables(s.derivation, names).items()}
    exec(compile(source, "<listing>", "exec"), space)  # noqa: S102 - to run it is the test
    function = space["gradients" if s.derivation.loss is None else "loss_and_gradients"]
    with np.errstate(all="ignore"):
        # States that no gradient depends on are no arguments of it.
        value, gradients = function(*(run[given[word]] for word in signature(function).parameters))
    faults: list[Fault] = []
    if not distance(np.asarray(value), run[s.result.name]) < CLOSE:
        faults.append(Fault("listing", "wrong value"))
    for name, tensor in s.derivation.gradients.items():
        if not distance(np.asarray(gradients[name]), run[tensor.name]) < CLOSE:
            faults.append(Fault("listing", "wrong gradient", f"by {name}"))
    return faults


def documents(s: Subject) -> list[Fault]:
    """They are built, in both languages, and hold no word of the other."""
    d = s.derivation
    texts = [d.to_text("en"), d.to_text("zh", "full"), d.to_markdown("zh"), d.to_latex("en", "full"), d.to_html("zh")]
    return [] if all(texts) else [Fault("documents", "empty")]


def verified(s: Subject) -> list[Fault]:
    """The certificate is given, soon."""
    start = process_time()
    try:
        if s.model is not None:
            s.model.verify()
        else:
            joint = s.derivation.joint
            certify(s.derivation, simplified=needed(joint, [t.name for t in s.derivation.gradients.values()]))
    except cr.VerificationError as error:
        return [Fault("verify", "false line", str(error).splitlines()[0][:200])]
    seconds = process_time() - start
    return [Fault("verify", "slow", f"{seconds:.1f} s")] if seconds > LONGEST else []
