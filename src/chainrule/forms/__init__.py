"""Concise forms: what equations are as operators on matrices and planes."""

from chainrule.forms.expand import expand
from chainrule.forms.nodes import Form, operation, outline, walk, whole
from chainrule.forms.operators import OPERATORS, matrix_shape, shape
from chainrule.forms.recognise import Concise, concise, holds, of_lines, refused

__all__ = [
    "OPERATORS", "Concise", "Form", "concise", "expand", "holds", "matrix_shape", "of_lines", "operation", "outline",
    "refused", "shape", "walk", "whole",
]
