"""The verbs of artifacts: import models from a registry, describe models of a hub."""

from workers.verbs.imports.describe import Describe
from workers.verbs.imports.models import Import

__all__ = ["Describe", "Import"]
