"""The published data sets by the names that commands know them by."""

from stream_twin.datasets import beijing_pm25, lifesnaps, mimic_fhir, sepsis2019, t1d, welltory
from stream_twin.datasets.recording import DataSet

DATASETS: dict[str, DataSet] = {
    module.DATASET.name: module.DATASET for module in (t1d, sepsis2019, mimic_fhir, lifesnaps, welltory, beijing_pm25)
}
