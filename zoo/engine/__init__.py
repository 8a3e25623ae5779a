"""Fast gradients and scores of a pair: `compile`, `compile_scores`, `choose_engine` and `CompiledSVI` are the door.

Behind it a step is traced to a flat graph and compiled ahead of time; a calibration of the machine says what pays.
Private interfaces of torch and Pyro are in `zoo.engine.private` only. In every mode, results agree to float rounding.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.engine.cost import Calibration as Calibration
    from zoo.engine.engine import Engine as Engine
    from zoo.engine.engine import choose_engine as choose_engine
    from zoo.engine.engine import compile as compile
    from zoo.engine.machine import calibration as calibration
    from zoo.engine.machine import load_calibration as load_calibration
    from zoo.engine.machine import needs_calibration as needs_calibration
    from zoo.engine.precision import autocast as autocast
    from zoo.engine.scorer import compile_scores as compile_scores
    from zoo.engine.stepping import Stepper as Stepper
    from zoo.engine.svi import CompiledSVI as CompiledSVI

_HOMES = {
    "Calibration": "cost",
    "CompiledSVI": "svi",
    "Engine": "engine",
    "Stepper": "stepping",
    "autocast": "precision",
    "calibration": "machine",
    "choose_engine": "engine",
    "compile": "engine",
    "compile_scores": "scorer",
    "load_calibration": "machine",
    "needs_calibration": "machine",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"zoo.engine.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'zoo.engine' has no attribute {name!r}")
