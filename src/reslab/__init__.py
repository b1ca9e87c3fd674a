"""reslab takes a residual network apart, trains it on your photos, and tells you whether your idea helps.

The public names are listed in __init__.pyi. Each is imported when it is first used: `import reslab` does not
import torch.
"""

import lazy_loader

from .version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
