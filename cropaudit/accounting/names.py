"""The words that settings are chosen by, in one place; nothing is imported.

The command line reads them before anything heavy is there, and the modules that give them a meaning
read them from here as well.
"""

from typing import Literal

__all__ = ["Clipped", "CropName", "Interpolation", "PadMode", "SamplerName"]

SamplerName = Literal["poisson", "fixed", "shuffle", "cyclic", "full"]
CropName = Literal["uniform", "resized", "none", "nonempty"]
PadMode = Literal["constant", "reflect", "symmetric", "edge"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
Clipped = Literal["together", "apart"]
