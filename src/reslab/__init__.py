"""reslab takes a residual network apart, trains it on your photos, and shows whether your idea helps.

The public names are listed in __init__.pyi. Each is imported on first use: `import reslab` does not import
torch.
"""

import lazy_loader

from .version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
