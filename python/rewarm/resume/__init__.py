"""From a checkpoint to a run that goes on: reading what others wrote, the rules of a resume, and ``rewarm inspect``.

``docs/resume.md`` has the rules and recipes.
"""

from rewarm.resume.load import LoadReport, StepScheduleWarning, load

__all__ = ["LoadReport", "StepScheduleWarning", "load"]
