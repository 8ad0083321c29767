"""Keras nets of the kinds that people have: what `from_keras` must bring in, and Keras's own numbers of them."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import permutations
from typing import Any

import keras
import numpy as np
from keras import layers, ops

import chainrule as cr

# Keras rounds float64 to float32 in what it computes of two tensors, as JAX does by default; without that its numbers
# can be compared to 1e-12.
sys.modules["keras.src.backend.common.dtypes"].BIT64_TO_BIT32_DTYPE["float64"] = "float64"
RNG = np.random.default_rng(0)
Make = Callable[[], Any]


def sequence(*parts: Any) -> Any:
    return keras.Sequential(list(parts))


def block(x: Any, width: int, stride: int = 1) -> Any:
    """A block of a residual network."""
    y = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization()(y)
    y = layers.Activation("relu")(y)
    y = layers.Conv2D(width, 3, padding="same")(y)
    y = layers.BatchNormalization(scale=False)(y)
    return layers.ReLU()(layers.Add()([y, layers.Conv2D(width, 1, strides=stride)(x)]))


def residual() -> Any:
    x = keras.Input((7, 7, 2))
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(block(block(x, 4), 5, 2))))


def unet() -> Any:
    x = keras.Input((8, 8, 1))
    a = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    b = layers.Conv2D(4, 3, padding="same", activation="elu")(layers.MaxPooling2D()(a))
    c = layers.Conv2D(4, 3, padding="same", activation="gelu")(layers.AveragePooling2D(2)(b))
    b = layers.Concatenate()([layers.Conv2DTranspose(4, 2, strides=2, padding="same")(c), b])
    a = layers.Concatenate()([layers.UpSampling2D()(layers.Conv2D(3, 1)(b)), a])
    return keras.Model(x, layers.Conv2D(1, 1, activation="sigmoid")(a))


def transformer() -> Any:
    ids = keras.Input((5,), dtype="int32")
    x = layers.Embedding(11, 8)(ids) + layers.Embedding(5, 8)(ops.arange(5))
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 4)(y, y, use_causal_mask=True)
    y = layers.LayerNormalization(epsilon=1e-5)(x)
    x = x + layers.Dense(8)(layers.Dense(16, activation="gelu")(y))
    return keras.Model(ids, layers.Dense(11)(x))


def patches() -> Any:
    """A vision transformer with a token for the class."""
    x = keras.Input((8, 8, 1))
    y = layers.Reshape((4, 6))(layers.Conv2D(6, 4, strides=4)(x))
    y = Token()(y)
    y = y + layers.MultiHeadAttention(3, 2)(y, y)
    return keras.Model(x, layers.Dense(3)(layers.RMSNormalization()(y)[:, 0]))


class Token(layers.Layer):
    def build(self, shape: Any) -> None:
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")
        self.position = self.add_weight(shape=(shape[1] + 1, shape[-1]), name="position")

    def call(self, x: Any) -> Any:
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1) + self.position


class Gated(layers.Layer):
    """A layer as people write them: layers within, weights of its own, and operators of Python."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.gate, self.up, self.drop = layers.Dense(units, "sigmoid"), layers.Dense(units), layers.Dropout(0.0)

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x: Any, training: bool = False) -> Any:
        z = self.scale * x / ops.sqrt(ops.mean(x**2, axis=-1, keepdims=True) + 1e-6)
        return self.drop(self.gate(z) * self.up(z), training=training)


def shared() -> Any:
    a, b = keras.Input((5,)), keras.Input((5,))
    body = sequence(keras.Input((5,)), layers.Dense(7, activation="tanh"), layers.Dense(4))
    one, other = body(a), body(b)
    both = layers.Concatenate()([ops.absolute(one - other), layers.Multiply()([one, other])])
    return keras.Model([a, b], layers.Dense(1)(both))


class Tied(layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix = layers.Embedding(11, 6), layers.Dense(6, activation="tanh")

    def build(self, shape: Any) -> None:
        self.table.build()
        self.mix.build((None, None, 6))
        self.head = self.table._embeddings

    def call(self, ids: Any) -> Any:
        return ops.matmul(self.mix(self.table(ids)), ops.transpose(self.head))


def tied() -> Any:
    ids = keras.Input((4,), dtype="int32")
    return keras.Model(ids, Tied()(ids))


def excited() -> Any:
    x = keras.Input((6, 6, 4))
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    s = layers.GlobalAveragePooling2D(keepdims=True)(y)
    s = layers.Conv2D(8, 1, activation="sigmoid")(layers.Conv2D(2, 1, activation="swish")(s))
    return keras.Model(x, layers.Conv2D(3, 1, groups=1)(layers.Multiply()([y, s])))


def written() -> Any:
    x = keras.Input((4, 6))
    y = layers.Lambda(lambda t: ops.softmax(t, axis=1) * ops.cumsum(t, axis=1))(x)
    y = ops.concatenate([y, ops.flip(x, axis=1), -x], axis=-1)
    parts = ops.split(layers.Dense(12)(y), 2, axis=-1)
    z = ops.einsum("nij,nkj->nik", *parts) + ops.maximum(parts[0], 0.1)[..., :4]
    return keras.Model(x, layers.Softmax()(ops.swapaxes(z, 1, 2)))


NETS: dict[str, Make] = {
    "dense": lambda: sequence(
        keras.Input((5,)), layers.Dense(7, activation="relu"), layers.Dense(6, activation="selu"),
        layers.Dense(3, activation="softmax"),
    ),
    "convolutions": lambda: sequence(
        keras.Input((9, 8, 2)), layers.ZeroPadding2D(1), layers.Conv2D(4, 3, strides=2, activation="relu"),
        layers.MaxPooling2D(2), layers.Conv2D(6, 2, padding="same"), layers.LeakyReLU(0.2), layers.Flatten(),
        layers.Dropout(0.0), layers.Dense(3),
    ),
    "residual": residual, "u-net": unet, "transformer": transformer, "class token": patches, "shared body": shared,
    "tied weights": tied, "squeeze and excite": excited, "operations": written,
    "gated": lambda: sequence(keras.Input((3, 6)), Gated(4), layers.Dense(2)),
    "along time": lambda: sequence(
        keras.Input((10, 3)), layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"),
        layers.SeparableConv1D(5, 3, padding="same"), layers.MaxPooling1D(3, strides=2, padding="same"),
        layers.Conv1DTranspose(3, 4, strides=3), layers.GlobalMaxPooling1D(), layers.Dense(2),
    ),
    "separable": lambda: sequence(
        keras.Input((7, 7, 3)), layers.SeparableConv2D(4, 3, strides=2), layers.BatchNormalization(center=False),
        layers.AveragePooling2D(2, strides=1, padding="same"), layers.Conv2DTranspose(2, 3, strides=2),
        layers.Cropping2D(1), layers.GroupNormalization(2), layers.PReLU(shared_axes=[1, 2]), layers.Permute((3, 1, 2)),
    ),
    "normalised": lambda: sequence(
        keras.Input((4, 6)), layers.Rescaling(0.5, 0.1), layers.LayerNormalization(axis=[1, 2]), layers.Dense(6),
        layers.LayerNormalization(scale=False), layers.UnitNormalization(),
        layers.Reshape((2, 12)), layers.EinsumDense("abc,cd->abd", output_shape=(2, 5), bias_axes="d"),
        layers.Activation("mish"),
    ),
    "attention layer": lambda: attended(),
}  # fmt: skip


def attended() -> Any:
    q, v = keras.Input((3, 6)), keras.Input((4, 6))
    y = layers.Attention(use_scale=True)([layers.Dense(5)(q), layers.Dense(5)(v)])
    return keras.Model([q, v], layers.Average()([y, layers.Dot(axes=2)([y, y])[:, :, :1] * y]))


def made(name: str, dtype: str = "float64") -> tuple[Any, list[Any], Any]:
    """A net with weights none of which is 0 or 1 everywhere, samples for it, and targets."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    net = NETS[name]()
    for variable in net.weights:
        value = keras.ops.convert_to_numpy(variable)
        variable.assign(np.abs(value + 0.2 * RNG.normal(size=value.shape)) if "variance" in variable.path else
                        value + 0.2 * RNG.normal(size=value.shape))
    x = [
        RNG.integers(0, 5, (3, *given.shape[1:])) if "int" in str(given.dtype) else
        RNG.normal(size=(3, *given.shape[1:])).astype(dtype) for given in net.inputs
    ]
    return net, x, RNG.normal(size=(3, *net.outputs[0].shape[1:])).astype(dtype)


def gradients(net: Any, x: list[Any], target: Any) -> tuple[Any, list[Any]]:
    """Keras's output outside training, and the gradient of the mean squared error in training by each weight."""
    given = x if len(x) > 1 else x[0]
    outside = keras.ops.convert_to_numpy(net(given, training=False))
    if keras.backend.backend() == "torch":
        net.zero_grad()
        ((net(given, training=True) - keras.ops.convert_to_tensor(target)) ** 2).mean().backward()
        return outside, [v.value.grad.numpy() for v in net.trainable_variables]
    import jax

    def loss(weights: list[Any]) -> Any:
        made, _ = net.stateless_call(weights, [v.value for v in net.non_trainable_variables], given, training=True)
        return ((made - target) ** 2).mean()

    return outside, [np.asarray(g) for g in jax.grad(loss)([v.value for v in net.trainable_variables])]


def moved(ours: Any, theirs: Any) -> Any:
    """How our weight is Keras's with its axes moved, as a function; None where it is another."""
    if ours.size != theirs.size:
        return None
    for order in permutations(range(theirs.ndim)):
        if np.array_equal(theirs.transpose(order).reshape(-1), ours.reshape(-1)):
            return lambda array: array.transpose(order).reshape(ours.shape)
    return None


def differences(model: cr.Model, net: Any, x: list[Any], target: Any, bound: float) -> list[str]:
    """What is off by more than this share of its largest entry."""
    outside, wanted = gradients(net, x, target)
    given, off = tuple(x) if len(x) > 1 else x[0], list[str]()
    found = model.logits(given, executor="numpy").reshape(outside.shape)
    if not np.abs(found - outside).max() <= bound * max(1.0, np.abs(outside).max()):
        off.append(f"the output {np.abs(found - outside).max():.1e}")
    _, ours = model.gradients(given, target.reshape(model.logits(given, executor="numpy").shape))
    names, top = {name for name in ours if not name.startswith("input")}, max(np.abs(g).max() for g in wanted)
    for variable, gradient in zip(net.trainable_variables, wanted, strict=True):
        value = keras.ops.convert_to_numpy(variable)
        pairs = ((name, moved(model.parameters[name], value)) for name in sorted(names))
        name, way = next(((name, way) for name, way in pairs if way), ("", None))
        if way is None:
            off.append(f"{variable.path} is missing")
            continue
        names.discard(name)
        worst = np.abs(ours[name] - way(gradient)).max() / max(np.abs(gradient).max(), 1e-3 * top)
        if not worst <= bound:
            off.append(f"the gradient of {variable.path} {worst:.1e}")
    return off + [f"{name} is no weight of Keras's" for name in sorted(names)]


def checked(name: str, dtype: str = "float64") -> list[str]:
    net, x, target = made(name, dtype)
    model = cr.from_keras(net, loss="mean_squared_error")
    return differences(model, net, x, target, {"float64": 1e-12, "float32": 1e-6}[dtype])

