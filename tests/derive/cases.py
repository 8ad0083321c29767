"""Programs that decide whether the mechanism is right, each with the shapes of what it is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from chainrule.derive import Derivation, derive_program
from chainrule.ir.expr import Tensor
from chainrule.ir.index import Extent
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Program


@dataclass(frozen=True)
class Case:
    """`ranges` gives the integer tensors and how many values they take."""

    name: str
    text: str
    shapes: dict[str, tuple[Extent, ...]]
    ranges: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def program(self) -> Program:
        tensors = {
            name: Tensor(name, shape, "integer" if name in self.ranges else "real")
            for name, shape in self.shapes.items()
        }
        equations = tuple(parse_program(self.text, tensors=tensors))
        return Program(equations, inputs=tuple(tensors.values()), outputs=(equations[-1].tensor,))

    @cached_property
    def derivation(self) -> Derivation:
        """The first one that was asked for, for all tests that change no rule."""
        return self.derived_anew()

    def derived_anew(self) -> Derivation:
        program = self.program
        output = program.outputs[0]
        wrt = [t for t in program.inputs if t.dtype == "real"]
        return derive_program(program, output if output.shape == () else None, wrt)


CASES = {
    case.name: case
    for case in (
        Case("dense", "u[n, k] = sum[l](W[k, l]*x[n, l]) + b[k]", {"W": (3, 4), "x": ("N", 4), "b": (3,)}),
        Case("sigmoid", "z[n, k] = sigmoid(u[n, k])", {"u": ("N", 3)}),
        Case("tanh", "z[n, k] = tanh(u[n, k])", {"u": ("N", 3)}),
        Case("relu", "z[n, k] = relu(u[n, k])", {"u": ("N", 3)}),
        Case("max_of_two", "z[n, k] = max(u[n, k], v[n, k])", {"u": ("N", 3), "v": ("N", 3)}),
        Case("min_of_two", "z[n, k] = min(u[n, k], v[n, k])", {"u": ("N", 3), "v": ("N", 3)}),
        Case("abs", "z[n, k] = abs(u[n, k])*sign(v[n, k])", {"u": ("N", 3), "v": ("N", 3)}),
        Case("softplus", "z[n, k] = softplus(u[n, k])", {"u": ("N", 3)}),
        Case("softmax", "p[n, k] = exp(u[n, k] - logsumexp[j](u[n, j]))", {"u": ("N", 4)}),
        Case("logsumexp", "y[n] = logsumexp[k](3*u[n, k] + v[k])", {"u": ("N", 4), "v": (4,)}),
        Case("log", "y[n, k] = log(x[n, k])*x[n, k]", {"x": ("N", 3)}),
        Case("u_plus_u", "y[n, k] = u[n, k] + u[n, k]", {"u": ("N", 3)}),
        Case("silu", "y[n, k] = x[n, k]*sigmoid(x[n, k])", {"x": ("N", 3)}),
        Case("quotient", "y[n, k] = a[n, k]**2/(b[n, k] + 3) - a[n, k]/2", {"a": ("N", 3), "b": ("N", 3)}),
        Case("powers", "y[n] = sum[k](x[n, k]**3)**(1/2) + sum[k](x[n, k])**-2", {"x": ("N", 3)}),
        Case("mean", "y[k] = mean[n](x[n, k]*w[k])", {"x": ("N", 3), "w": (3,)}),
        Case("quadratic_form", "y[n] = sum[i, j](x[n, i]*A[i, j]*x[n, j])", {"x": ("N", 4), "A": (4, 4)}),
        Case("outer_product", "y[n, i, j] = a[n, i]*b[n, j]", {"a": ("N", 2), "b": ("N", 3)}),
        Case(
            "residual",
            "u[n, k] = sum[l](W[k, l]*x[n, l])\nz[n, k] = relu(u[n, k])\ny[n, k] = z[n, k] + x[n, k]",
            {"W": (3, 3), "x": ("N", 3)},
        ),
        Case(
            "shared_weight",
            "u[n, k] = sum[l](W[k, l]*x[n, l])\nz[n, k] = sigmoid(u[n, k])\nv[n, k] = sum[l](W[k, l]*z[n, l])",
            {"W": (3, 3), "x": ("N", 3)},
        ),
        Case(
            "mse_and_decay",
            "u[n, k] = sum[l](W[k, l]*x[n, l])\n"
            "loss = mean[n](mean[k]((u[n, k] - t[n, k])**2)) + r/2*sum[k, l](W[k, l]**2)",
            {"W": (3, 4), "x": ("N", 4), "t": ("N", 3), "r": ()},
        ),
        Case(
            "cross_entropy",
            "p[n, k] = exp(u[n, k] - logsumexp[j](u[n, j]))\n"
            "loss = mean[n](logsumexp[k](u[n, k]) - sum[k](t[n, k]*u[n, k]))",
            {"u": ("N", 4), "t": ("N", 4)},
        ),
        Case(
            "conv2d_stride_padding",
            "y[n, o, i<3, j<4] = sum[c, p, q](W[o, c, p, q]*pad(x, 0)[n, c, 2*i + p - 1, 2*j + q - 1]) + b[o]",
            {"x": ("N", 2, 5, 7), "W": (3, 2, 3, 3), "b": (3,)},
        ),
        Case(
            "conv2d_valid", "y[n, o, i, j] = sum[c, p, q](W[o, c, p, q]*x[n, c, i + p, j + q])",
            {"x": ("N", 2, 5, 4), "W": (3, 2, 3, 2)},
        ),
        Case(
            "conv1d_stride_3_kernel_2", "y[n, o, i<3] = sum[c, p](W[o, c, p]*pad(x, 0)[n, c, 3*i + p])",
            {"x": ("N", 2, 8), "W": (3, 2, 2)},
        ),
        Case(
            "conv1d_dilated", "y[n, o, i<5] = sum[c, p](W[o, c, p]*pad(x, 0)[n, c, 2*i + 3*p - 2])",
            {"x": ("N", 2, 9), "W": (3, 2, 3)},
        ),
        Case(
            "conv1d_stride_and_dilation_share_a_factor",
            "y[n, o, i<4] = sum[c, p](W[o, c, p]*pad(x, 0)[n, c, 4*i + 2*p - 3])",
            {"x": ("N", 2, 11), "W": (2, 2, 3)},
        ),
        Case(
            "conv_grouped", "y[n, g, o, i] = sum[c, p](W[g, o, c, p]*x[n, 2*g + c, i + p])",
            {"x": ("N", 6, 5), "W": (3, 2, 2, 2)},
        ),
        Case(
            "transposed_conv", "y[n, o, h<9] = sum[c, i, p]([h == 2*i + p - 1]*x[n, c, i]*W[c, o, p])",
            {"x": ("N", 2, 5), "W": (2, 3, 3)},
        ),
        Case("max_pool", "y[n, c, i, j] = max[p<2, q<2](x[n, c, 2*i + p, 2*j + q])", {"x": ("N", 2, 4, 6)}),
        Case(
            "max_pool_overlapping_padded",
            "y[n, c, i<4, j<3] = max[p<3, q<3](pad(x, -inf)[n, c, 2*i + p - 1, 2*j + q - 1])", {"x": ("N", 2, 7, 5)},
        ),
        Case("max_pool_gaps", "y[n, c, i<3] = max[p<2](x[n, c, 3*i + p])", {"x": ("N", 2, 9)}),
        Case(
            "mean_pool_overlapping_padded",
            "y[n, c, i<4, j<3] = 1/9*sum[p<3, q<3](pad(x, 0)[n, c, 2*i + p - 1, 2*j + q - 1])", {"x": ("N", 2, 7, 5)},
        ),
        Case(
            "mean_pool_real_cells",
            "c[i<4] = sum[p<3]([0 <= 2*i + p - 1 < 7])\n"
            "y[n, i] = sum[p<3](pad(x, 0)[n, 2*i + p - 1])/c[i]", {"x": ("N", 7)},
        ),
        Case(
            "strided_side_reads",
            "y[n, i<4] = sum[p](W[p]*pad(x, 0)[n, 2*i + p - 1])*v[2*i + 1]*log(w[i])",
            {"x": ("N", 7), "W": (3,), "v": (8,), "w": (4,)},
        ),
        Case(
            "window_over_its_own_norm",
            "y[n, i<4] = sum[p<3](pad(x, 0)[n, 2*i + p - 1])/sum[q<3](pad(x, 0)[n, 2*i + q - 1]**2)", {"x": ("N", 7)},
        ),
        Case("two_reads_of_one_tensor", "y[i<3, j<3] = x[i + j]*x[2*i + j]", {"x": (7,)}),
        Case("volterra", "y[n, i<4] = sum[p, q](h[p, q]*x[n, i + p]*x[n, i + q])", {"x": ("N", 6), "h": (3, 3)}),
        Case("local_attention", "s[n, i<4] = logsumexp[p<3](q[n, i + 1]*k[n, i + p])", {"q": ("N", 6), "k": ("N", 6)}),
        Case("max_beside_a_read", "y[n, i<4] = max[p<3](x[n, i + p])*x[n, i + 2]", {"x": ("N", 6)}),
        Case(
            "windows_into_a_reshape", "y[n, 6*(o<2) + 2*(i<3) + (j<2)] = sum[p](W[o, p]*x[n, i + p, j])",
            {"W": (2, 3), "x": ("N", 5, 2)},
        ),
        Case("sum_beside_a_factor", "y[n, k] = sum[l](x[n, l])*v[n, k]", {"x": ("N", 5), "v": ("N", 4)}),
        Case("broadcast_weight", "y[n, k] = sum[l](A[k, l])*x[n, k] + sum[l](x[n, k]*w[l])", {
            "A": (4, 5), "x": ("N", 4), "w": (3,),
        }),
        Case("reshape", "y[n, 12*(c<2) + 4*(i<3) + (j<4)] = x[n, c, i, j]**2", {"x": ("N", 2, 3, 4)}),
        Case(
            "dense_over_a_group", "y[n, k] = sum[c, i, j](W[k, 6*c + 3*i + j]*x[n, c, i, j])",
            {"W": (5, 12), "x": ("N", 2, 2, 3)},
        ),
        Case("concatenation", "y[n, k<5] = pad(a, 0)[n, k] + pad(b, 0)[n, k - 2]", {"a": ("N", 2), "b": ("N", 3)}),
        Case(
            "embedding", "e[n, t, d] = sum[v]([v == id[n, t]]*E[v, d])", {"id": ("N", 4), "E": (6, 3)}, {"id": 6}
        ),
        Case("reversal", "y[n, i<5] = x[n, 4 - i]*w[i]", {"x": ("N", 5), "w": (5,)}),
        Case(
            "batch_norm",
            "m[k] = mean[n](x[n, k])\nv[k] = mean[n]((x[n, k] - m[k])**2)\n"
            "y[n, k] = g[k]*(x[n, k] - m[k])*(v[k] + 1/1000)**(-1/2) + b[k]",
            {"x": ("N", 3), "g": (3,), "b": (3,)},
        ),
        Case(
            "attention",
            "q[n, t, d] = sum[e](Q[d, e]*x[n, t, e])\nk[n, t, d] = sum[e](K[d, e]*x[n, t, e])\n"
            "v[n, t, d] = sum[e](V[d, e]*x[n, t, e])\ns[n, t, r] = 1/2*sum[d](q[n, t, d]*k[n, r, d])\n"
            "a[n, t, r] = exp(s[n, t, r] - logsumexp[j](s[n, t, j]))\ny[n, t, d] = sum[r](a[n, t, r]*v[n, r, d])",
            {"x": ("N", 3, 4), "Q": (2, 4), "K": (2, 4), "V": (2, 4)},
        ),
    )
}

USERS = {
    case.name: case
    for case in (
        Case("window_and_its_start", "y[n, i<3, j<3] = x[n, 2*i + j] + x[n, 2*i]", {"x": ("N", 7)}),
        Case("window_times_its_start", "y[n, i<3, j<3] = x[n, 2*i]*x[n, 2*i + j]", {"x": ("N", 7)}),
        Case(
            "window_less_its_mean", "y[n, i<3, j<3] = x[n, 2*i + j] - mean[p<3](x[n, 2*i + p])", {"x": ("N", 7)}
        ),
        Case(
            "strides_of_two_and_three", "y[n, i<3, j<2] = x[n, 2*i + 3*j] - x[n, 2*i]*x[n, 3*j + 1]", {"x": ("N", 8)}
        ),
        Case("pad_beside_dilation", "y[n, b<3, c<2] = pad(x, 0)[n, b]*x[n, b + 2*c]", {"x": ("N", 7)}),
        Case(
            "bracket_between_indices", "y[n, i<2, j<3] = [j == 2*i]*(x[n, 0] + A[3*j])", {"x": ("N", 7), "A": (7,)}
        ),
        Case(
            "two_maxima_under_a_sum", "y[n, i<2] = sum[j<2](max[k<3](x[n, k])) + max[j<3](x[n, j]**2)",
            {"x": ("N", 3)},
        ),
        Case(
            "maximum_of_a_mean", "y[n, i<2] = sum[j<2](max[k<2](pad(x, 0)[n, k])) + max[j<2](mean[l<1](x[n, j]))",
            {"x": ("N", 2)},
        ),
        Case(
            "padded_with_a_number", "y[n, i<2] = x[n, i] + sum[j<2](pad(x, 3/2)[n, j]*pad(w, 0)[i + j, i])",
            {"x": ("N", 2), "w": (2, 2)},
        ),
        Case("maximum_over_samples", "y[i<2] = max[j<3, m](x[m, i]*w[j])", {"x": ("N", 2), "w": (3,)}),
        Case("maximum_over_samples_first", "y[i<2] = max[m, j<3](x[m, i]*w[j])", {"x": ("N", 2), "w": (3,)}),
        Case("place_as_a_number", "y[n, i<3] = argmax[k<2](w[k])*x[n, i] + x[n, i]", {"x": ("N", 3), "w": (2,)}),
        Case("maximum_over_nothing", "y[n, i<4] = max[j<3](x[n, i])", {"x": ("N", 4)}),
        Case(
            "sums_named_like_the_component", "y[n, k<2] = sum[k1](sum[k2](W[k, k1, k2]*x[n, k1, k2]))",
            {"W": (2, 3, 4), "x": ("N", 3, 4)},
        ),
        Case(
            "three_sums_named_alike", "y[n, k<2] = sum[i](sum[i1](sum[i2](W[k, i, i1, i2]*x[n, i, i1, i2])))",
            {"W": (2, 2, 3, 2), "x": ("N", 2, 3, 2)},
        ),
        Case("squares_under_three_sums", "y = sum[i](sum[i1](sum[i2](x[i, i1, i2]**2)))", {"x": (2, 3, 2)}),
        Case("split_first_axis", "y[n<2, h<4, t<5, c<4] = x[4*n + h, t, c]", {"x": (8, 5, 4)}),
        Case(
            "facts_of_facts", "z[n, g<2] = W[g]*x[n, 0]\nc[n] = z[n, 1]**2\nh[n] = z[n, 0]*c[n]\n"
            "y[n, q<2] = W[q]*x[n, 1] + h[n]", {"W": (2,), "x": ("N", 4)},
        ),
        Case(
            "maximum_beside_what_it_reads", "h[i<2] = max[k<3](w[k, i])\ny[n, i<2] = x[n, i]*h[i] + w[0, i]",
            {"w": (3, 2), "x": ("N", 2)},
        ),
        Case(
            "maximum_over_samples_beside_what_it_reads", "h[i<3] = max[m](x[m, i])\ny[n, j<3] = x[n, j]*h[j]",
            {"x": ("N", 3)},
        ),
        Case(
            "fold_that_reads_an_earlier_value", "a[n, i<2] = tanh(v[n, i])\nb[n, i<2] = x[n, i]**2\n"
            "y[n, i<2] = a[n, i]*tanh(v[n, i])*b[n, i] + x[n, i]", {"v": ("N", 2), "x": ("N", 2)},
        ),
        Case("bracket_of_numbers", "y[i<2] = [0 == 2] - w[0, i]", {"w": (1, 2)}),
        Case("maximum_of_columns", "y[n, i<3] = max[j<2, k<2](x[n, j, i]*x[n, 1, 2])", {"x": ("N", 2, 3)}),
        Case("derivative_that_is_zero", "y[n, k] = sign(x[n, k])*x[n, k]", {"x": ("N", 3)}),
    )
}
"""Equations of the kinds that users write and layers have not."""
ALL = {**CASES, **USERS}
