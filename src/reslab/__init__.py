"""reslab takes a residual network apart, trains it on your photos, and tells you whether your idea helps.

The public names, nothing else. Each is imported when first used: `import reslab` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import VERSION

if TYPE_CHECKING:
    # for type checkers: a name that is imported `as` itself is exported
    from .datasets.drawings.dataset import draw as draw
    from .datasets.fetch import get as get
    from .errors import ReslabError as ReslabError
    from .evaluation.classifier import Classifier as Classifier
    from .evaluation.classifier import Prediction as Prediction
    from .evaluation.metrics import Evaluation as Evaluation
    from .inspection.arithmetic import ReceptiveField as ReceptiveField
    from .inspection.arithmetic import multiply_adds as multiply_adds
    from .inspection.arithmetic import output_size as output_size
    from .inspection.arithmetic import receptive_field as receptive_field
    from .inspection.drawing.draw import draw_network as draw_network
    from .inspection.gradient_flow import GradientFlow as GradientFlow
    from .inspection.gradient_flow import gradient_flow as gradient_flow
    from .inspection.gradient_flow import plot_gradient_flow as plot_gradient_flow
    from .inspection.summary import Anatomy as Anatomy
    from .inspection.summary import anatomy as anatomy
    from .networks.blocks import BasicBlock as BasicBlock
    from .networks.blocks import Bottleneck as Bottleneck
    from .networks.blocks import PlainBlock as PlainBlock
    from .networks.blocks import PreActivationBlock as PreActivationBlock
    from .networks.blocks import TextbookBlock as TextbookBlock
    from .networks.precision import Precision as Precision
    from .networks.resnet import ResNet as ResNet
    from .networks.resnet import build_resnet as build_resnet
    from .networks.resnet import cifar_resnet20 as cifar_resnet20
    from .networks.resnet import cifar_resnet32 as cifar_resnet32
    from .networks.resnet import cifar_resnet44 as cifar_resnet44
    from .networks.resnet import cifar_resnet56 as cifar_resnet56
    from .networks.resnet import cifar_resnet110 as cifar_resnet110
    from .networks.resnet import resnet18 as resnet18
    from .networks.resnet import resnet34 as resnet34
    from .networks.resnet import resnet50 as resnet50
    from .networks.resnet import resnet101 as resnet101
    from .networks.resnet import resnet152 as resnet152
    from .networks.resnet import textbook_resnet18 as textbook_resnet18
    from .networks.weights.load import WeightsReport as WeightsReport
    from .networks.weights.load import load_pretrained as load_pretrained
    from .pages.walk.walk import Walk as Walk
    from .pages.walk.walk import walk as walk
    from .photos.checking.check import Check as Check
    from .photos.checking.check import check as check
    from .photos.checking.findings import Finding as Finding
    from .photos.folder.photo_list import Photo as Photo
    from .photos.folder.photo_list import PhotoList as PhotoList
    from .photos.folder.photos import Photos as Photos
    from .photos.loading.batches import Batch as Batch
    from .photos.loading.batches import Batches as Batches
    from .photos.loading.contact_sheet import show_batch as show_batch
    from .photos.loading.preprocess import Preprocess as Preprocess
    from .plots.canvas import Canvas as Canvas
    from .plots.history import History as History
    from .training.fit import fit as fit
    from .training.fit import prepare as prepare
    from .training.loop import Epoch as Epoch
    from .training.loop import State as State
    from .training.loop import Step as Step
    from .training.loop import events as events
    from .training.recipe import Recipe as Recipe
    from .training.runs.run import Run as Run
    from .training.runs.run import find_runs as find_runs
    from .training.runs.run import resume as resume
    from .training.runs.run import train as train

__version__ = VERSION

_HOMES = {
    "errors": "ReslabError",
    "evaluation.classifier": "Classifier Prediction",
    "evaluation.metrics": "Evaluation",
    "inspection.summary": "Anatomy anatomy",
    "inspection.arithmetic": "ReceptiveField multiply_adds output_size receptive_field",
    "networks.blocks": "BasicBlock Bottleneck PlainBlock PreActivationBlock TextbookBlock",
    "inspection.drawing.draw": "draw_network",
    "inspection.gradient_flow": "GradientFlow gradient_flow plot_gradient_flow",
    "networks.precision": "Precision",
    "networks.resnet": "ResNet build_resnet cifar_resnet20 cifar_resnet32 cifar_resnet44 cifar_resnet56 "
    "cifar_resnet110 resnet18 resnet34 resnet50 resnet101 resnet152 textbook_resnet18",
    "networks.weights.load": "WeightsReport load_pretrained",
    "pages.walk.walk": "Walk walk",
    "photos.loading.batches": "Batch Batches",
    "photos.loading.contact_sheet": "show_batch",
    "datasets.fetch": "get",
    "datasets.drawings.dataset": "draw",
    "photos.checking.check": "Check check",
    "photos.checking.findings": "Finding",
    "photos.folder.photos": "Photos",
    "photos.folder.photo_list": "Photo PhotoList",
    "photos.loading.preprocess": "Preprocess",
    "plots.canvas": "Canvas",
    "training.fit": "fit prepare",
    "plots.history": "History",
    "training.loop": "Epoch State Step events",
    "training.recipe": "Recipe",
    "training.runs.run": "Run find_runs resume train",
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
