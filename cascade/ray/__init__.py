"""For those who outgrow one machine: cascades over Ray Data's datasets, on a cluster's actors, and in Ray Serve.

Ray is loaded where it is used, and not before: the extra ``ray`` may be absent.
"""

from cascade.ray.datasets import by_task, checkpointed
from cascade.ray.predictor import CascadePredictor
from cascade.ray.serve import serve_app

__all__ = ["CascadePredictor", "by_task", "checkpointed", "serve_app"]
