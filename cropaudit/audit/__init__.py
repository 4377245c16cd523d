"""Games, the verdict and the run that ties them together; called, it audits: see `api.audit`."""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """This package is what ``cropaudit.audit`` names, and users call that."""

    def __call__(self, *args: Any, **settings: Any) -> Any:
        # By name: the room of calls lies above this one, and nothing here depends on it.
        return sys.modules["cropaudit"].__getattr__("_audit")(*args, **settings)


sys.modules[__name__].__class__ = _Callable
