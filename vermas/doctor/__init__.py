"""What `vermas doctor` looks at: the machine, the town, each rig; and what of it can be mended without losing anything.

The checks are generators: whoever mends a diagnosis before asking for the next one lets the later checks see the mended state.
"""

from __future__ import annotations

from vermas.doctor.diagnosis import Diagnosis
from vermas.doctor.examination import examine

__all__ = ["Diagnosis", "examine"]
