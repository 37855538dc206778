"""What the services' metrics are, read from the text that Prometheus reads."""

from functools import cache

from prometheus_client.parser import text_string_to_metric_families

from services.web.admission import Admission
from services.web.metrics import Metrics


def filled() -> Metrics:
    """Return metrics of which each has a value, so that all their labels can be seen."""
    metrics = Metrics()
    metrics.request("GET", "/heads", 200, 0.1)
    metrics.error("not_found")
    metrics.stage("queue", 0.1)
    metrics.item("ok")
    metrics.answers("name", "version", 1)
    metrics.batches("lite0", len)([1])
    metrics.memory(Admission(2**20))
    metrics.encoders(lambda: 2, lambda: 1)
    metrics.queue_depth("lite0", lambda: 0)
    metrics.backfills_waiting(lambda: 0)
    metrics.backfill_rows("lite0", 1, 1)
    metrics.backfill_ended("done")
    metrics.job_ended("done")
    metrics.jobs("queued", lambda: 0)
    return metrics


@cache
def families() -> dict[str, frozenset[str]]:
    """Name of each time series → its labels. A histogram has three names: `_bucket`, `_sum` and `_count`."""
    found = text_string_to_metric_families(filled().render().decode())
    return {sample.name: frozenset(sample.labels) for family in found for sample in family.samples}


@cache
def own() -> dict[str, frozenset[str]]:
    """Name of each metric of Headwater, as a page names it → its labels."""
    found = text_string_to_metric_families(filled().render().decode())
    named = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in found
        if family.name.startswith("headwater_") and not family.name.endswith("_created")
    }
    labels = {name: {label for sample in family.samples for label in sample.labels} for name, family in named.items()}
    return {name: frozenset(each - {"le"}) for name, each in labels.items()}
