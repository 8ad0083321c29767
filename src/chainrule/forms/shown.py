"""What one asks of a form before it is shown: whether it reads as what it is, and better than another."""

from __future__ import annotations

from chainrule.forms.nodes import Entries, Form, Operation, Sum, View, walk
from chainrule.forms.operators import OPERATORS
from chainrule.ir.expr import ADJOINT, Tensor
from chainrule.ir.index import SAMPLES, Index


def clash(left: Form, right: Form) -> bool:
    """Whether two things would be written alike: a tensor, or the gradient by it, with as many subscripts at other
    axes, A_j; the unit vector of one number in another length."""
    seen_: dict[tuple[Tensor, int] | Form, object] = {}

    def alike(node: Form) -> bool:
        match node:
            case View(tensor=tensor, at=at):
                axes = tuple(s is not None for s in at)
                return seen_.setdefault((written(tensor), len(node.fixed)), axes) != axes
            case Operation(name="onehot" | "onehot_rows", of=(of,)):
                return seen_.setdefault(of, node["extent"]) != node["extent"]
            case _:
                return False

    return any(alike(node) for form in (left, right) for node in walk(form))


def written(tensor: Tensor) -> Tensor:
    """The tensor whose letter is written: of a gradient the one that it is by."""
    return tensor.role.of if tensor.role and tensor.role.kind == ADJOINT and tensor.role.of else tensor


def reads_as_entry(form: Form) -> bool:
    """Whether what is read has as many subscripts as an entry of the tensor has: a part of a parted axis."""
    if not isinstance(form, View) or None not in form.at:
        return False
    return sum(e != SAMPLES for _, e in form.fixed) >= sum(e != SAMPLES for e in form.tensor.shape) > 0


def reads_as_row(view: View) -> bool:
    """Whether a number stands behind an axis that is left whole: the column z_{i,1} would be z_1, as a row is."""
    own = [s for s, e in zip(view.at, view.view, strict=True) if e != SAMPLES]
    return any(s is not None and not s.terms and None in own[:k] for k, s in enumerate(own))


def has_matrices(form: Form) -> bool:
    """Whether an operator on matrices is in a form."""
    return any(isinstance(node, Operation) and OPERATORS[node.name].kind == "matrix" for node in walk(form))


def only_components(form: Form) -> bool:
    """Whether it is nothing but components: several reads, put together entry by entry."""
    large = [node for node in walk(form) if is_large(node)]
    return len(large) != 1 and not any(isinstance(node, View) and node.pad is None for node in large)


def is_large(form: Form) -> bool:
    """Whether it is a matrix or a vector that is read."""
    return None in form.at if isinstance(form, View) else isinstance(form, Entries) and bool(form.axes)


def indices_at(form: Form) -> set[Index]:
    """The indices that stand in the subscripts of what is read."""
    match form:
        case View():
            return {i for s, _ in form.fixed for i in s.indices}
        case Entries():
            return set(form.subscripts)
        case _:
            return set()


def varies(outside: Sum) -> bool:
    """Whether a matrix or a vector under a sum depends on its indices; if not, it is no form, but components again."""
    return any(
        is_large(node) and not indices_at(node).isdisjoint(outside.indices) for node in walk(outside)
    )


def scattered(form: Form) -> int:
    """How many single numbers sums outside a matrix run over."""
    return sum(
        not is_large(node) and not indices_at(node).isdisjoint(outside.indices)
        for outside in walk(form) if isinstance(outside, Sum) for node in walk(outside)
    )
