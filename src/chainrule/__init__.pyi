"""The public names, each with the module it is from: read by type checkers, and by chainrule itself."""

from chainrule.derivation import Derivation as Derivation, derive as derive
from chainrule.errors import (
    BuildError as BuildError,
    ChainruleError as ChainruleError,
    CompileError as CompileError,
    DataError as DataError,
    DerivationError as DerivationError,
    DivergenceError as DivergenceError,
    EquationError as EquationError,
    ModelError as ModelError,
    ShapeError as ShapeError,
    VerificationError as VerificationError,
)
from chainrule.interop.keras import from_keras as from_keras
from chainrule.interop.onnx import from_onnx as from_onnx
from chainrule.interop.pytorch import from_torch as from_torch
from chainrule.nn.initialisers import (
    Initialiser as Initialiser,
    constant as constant,
    glorot as glorot,
    he as he,
    lecun as lecun,
    normal as normal,
    ones as ones,
    zeros as zeros,
)
from chainrule.nn.layer import (
    Input as Input,
    Layer as Layer,
    State as State,
    bernoulli as bernoulli,
    uniform as uniform,
)
from chainrule.nn.layers import *
from chainrule.nn.losses import (
    binary_cross_entropy as binary_cross_entropy,
    half_squared_error as half_squared_error,
    hinge as hinge,
    huber as huber,
    kl_divergence as kl_divergence,
    mean_absolute_error as mean_absolute_error,
    mean_squared_error as mean_squared_error,
    multiclass_hinge as multiclass_hinge,
    softmax_cross_entropy as softmax_cross_entropy,
)
from chainrule.optim.adam import Adam as Adam, AdamW as AdamW
from chainrule.optim.adaptive import Adagrad as Adagrad, RMSProp as RMSProp
from chainrule.optim.optimizer import Optimizer as Optimizer
from chainrule.optim.schedules import (
    cosine as cosine,
    one_cycle as one_cycle,
    step_decay as step_decay,
    warm_up as warm_up,
)
from chainrule.optim.sgd import SGD as SGD
from chainrule.report import Report as Report, report as report
from chainrule.sklearn import from_sklearn as from_sklearn
from chainrule.train.callbacks import (
    Callback as Callback,
    Checkpoint as Checkpoint,
    CSVLogger as CSVLogger,
    EarlyStopping as EarlyStopping,
    ReduceOnPlateau as ReduceOnPlateau,
)
from chainrule.train.checkpoint import load as load
from chainrule.train.data import Standardiser as Standardiser, digits as digits
from chainrule.train.files import DataSet as DataSet, read_data as read_data
from chainrule.train.history import History as History
from chainrule.train.metrics import METRICS as METRICS
from chainrule.train.model import Model as Model
from chainrule.train.models import read_model as read_model
from chainrule.train.ranks import world as world
from chainrule.train.rows import rows as rows
from chainrule.train.sequential import Sequential as Sequential
from chainrule.train.together import fit_together as fit_together
from chainrule.train.watch import TensorBoard as TensorBoard, Watch as Watch
from chainrule.verify.certificate import Certificate as Certificate

__all__: list[str]
__version__: str
