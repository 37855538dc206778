"""The chart of both services, and values that together use everything in its templates."""

from typing import Any

import yaml

from helpers.paths import ROOT

CHART = ROOT / "services" / "helm"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
EXAMPLES: list[dict[str, Any]] = [
    {},
    {
        "gpu": {"resource": "nvidia.com/mig-1g.10gb", "count": 2, "runtimeClassName": "nvidia"},
        "image": {"registry": "registry.example.org/team/", "tag": "mine", "pullSecrets": ["one", "two"]},
        "storage": {"accessMode": "ReadWriteMany", "className": "shared"},
        "embedding": {"settings": {"HEADWATER_MAX_QUEUE": "2048"}, "nodeSelector": {"gpu": "true"}},
        "classification": {"replicas": 5, "settings": {"HEADWATER_LOG_LEVEL": "DEBUG"}, "tolerations": []},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    {"gpu": {"count": 0}, "storage": {"claim": "mine"}, "embedding": {"image": "headwater-embedding"}},
]
