"""reslab takes a residual network apart, trains it on your photos, and tells you whether your idea helps.

The public names, nothing else. Each is imported when first used: `import reslab` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import ReslabError
    from .evaluation.classifier import Classifier, Prediction
    from .evaluation.metrics import Evaluation
    from .networks.precision import Precision
    from .networks.resnet import (
        BasicBlock,
        Bottleneck,
        PlainBlock,
        PreActivationBlock,
        ResNet,
        TextbookBlock,
        build_resnet,
        cifar_resnet20,
        cifar_resnet32,
        cifar_resnet44,
        cifar_resnet56,
        cifar_resnet110,
        resnet18,
        resnet34,
        resnet50,
        resnet101,
        resnet152,
        textbook_resnet18,
    )
    from .networks.weights import WeightsReport, load_pretrained
    from .photos.batches import Batch, Batches
    from .photos.contact_sheet import show_batch
    from .photos.download import get
    from .photos.drawn import draw
    from .photos.folder import Photo, Photos
    from .photos.preprocess import Preprocess
    from .training.canvas import Canvas
    from .training.fit import fit, prepare
    from .training.history import History
    from .training.loop import Epoch, State, Step, events
    from .training.recipe import Recipe
    from .training.run import Run, find_runs, resume, train

__version__ = "0.1.0"

_HOMES = {
    "errors": "ReslabError",
    "evaluation.classifier": "Classifier Prediction",
    "evaluation.metrics": "Evaluation",
    "networks.precision": "Precision",
    "networks.resnet": "BasicBlock Bottleneck PlainBlock PreActivationBlock ResNet TextbookBlock "
    "build_resnet cifar_resnet20 cifar_resnet32 cifar_resnet44 cifar_resnet56 cifar_resnet110 "
    "resnet18 resnet34 resnet50 resnet101 resnet152 textbook_resnet18",
    "networks.weights": "WeightsReport load_pretrained",
    "photos.batches": "Batch Batches",
    "photos.contact_sheet": "show_batch",
    "photos.download": "get",
    "photos.drawn": "draw",
    "photos.folder": "Photo Photos",
    "photos.preprocess": "Preprocess",
    "training.canvas": "Canvas",
    "training.fit": "fit prepare",
    "training.history": "History",
    "training.loop": "Epoch State Step events",
    "training.recipe": "Recipe",
    "training.run": "Run find_runs resume train",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_HOME_OF, key=str.casefold)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'reslab' has no attribute '{name}'")
    value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
