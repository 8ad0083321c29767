"""What a user does first, with the installed package alone: train, derive, verify, save, load. For `make package`."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

import chainrule as cr


def main() -> None:
    assert "site-packages" in cr.__file__, cr.__file__
    assert version("chainrule") == cr.__version__
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    model = cr.Sequential(cr.Input(8), cr.Dense(32), "tanh", cr.Dense(2), loss="softmax_cross_entropy")
    model.fit(x, y, epochs=60, optimizer=cr.Adam(0.01), verbose=False)
    found = model.evaluate(x, y)
    assert found["accuracy"] > 0.9, found
    page = model.derive().to_html(lang="zh")
    assert "<math" in page and "font/woff2" in page  # the package has its words and its fonts
    assert model.verify().count("exact") > 100
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.safetensors")
        model.save(path)
        assert np.array_equal(cr.load(path).predict(x), model.predict(x))
    print(f"chainrule {cr.__version__}, installed, trains to {found['accuracy']:.0%}, derives, verifies, saves, loads")


if __name__ == "__main__":
    main()
