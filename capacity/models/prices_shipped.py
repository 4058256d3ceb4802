"""Published prices that Headroom ships, as records: list, USD, Linux, an hour, before commitments and taxes.

Carried over on 2026-11-22 from the facts of the project's reference on accelerators; each names where it was read and on which day.
Only price APIs, vendors' generated files and transcribed provider pages are in it, no article. Prices are facts; no text was copied.
Prices of single GPUs of one provider price nothing by themselves: they stand on the screen to be taken over.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True)
class PriceSource:
    title: str
    url: str


@dataclass(frozen=True)
class ShippedPrice:
    """What an hour of an instance type, or of one accelerator (`reference`), cost when it was read."""

    provider: str
    name: str  # of the instance type, or of the accelerator as its driver says it
    region: str
    hourly_rate: Decimal
    source: str
    read_on: date
    reference: bool = False

    @property
    def key(self) -> str:
        return f"{self.provider} {self.name} {self.region} {self.read_on:%Y-%m-%d}"


PRICE_SOURCES = {
    "aws_price": PriceSource(
        "Karpenter AWS provider, zz_generated.pricing_aws.go (AWS Pricing API, us-east-1), revision 6fc13b523",
        "https://github.com/aws/karpenter-provider-aws",
    ),
    "azure_price": PriceSource(
        "Karpenter Azure provider, zz_generated.pricing.go (Azure retail price API), revision 2b431da1",
        "https://github.com/Azure/karpenter-provider-azure",
    ),
    "gcp_price": PriceSource(
        "Karpenter GCP provider, initial-prices.json (weekly refresh from the GCP catalogue), revision 373e2baa",
        "https://github.com/cloudpilot-ai/karpenter-provider-gcp",
    ),
    "silybench": PriceSource(
        "silybench-data gpu_prices.csv (transcribed from provider pages, per-row check date), revision 045df3bf56b8",
        "https://github.com/tgarg01/silybench-data",
    ),
    "lambda_page": PriceSource(
        "Lambda instance prices, quoted verbatim from lambda.ai/instances, revision 1929382e7f9b",
        "https://github.com/api-evangelist/lambda-labs",
    ),
    "datareceipts": PriceSource(
        "data-receipts 109-gpu-pricing (RunPod and Lambda pages transcribed)", "https://github.com/datareceipts/data-receipts"
    ),
    "coreweave_obs": PriceSource(
        "compute-screener provider observations (CoreWeave H100, H200); node prices 49.24 and 50.44 quoted in several public repositories",
        "https://github.com/renshuBTC/compute-screener",
    ),
}

# provider -> region -> source, day -> instance type and price; names of accelerators are their driver's
INSTANCES: tuple[tuple[str, str, str, date, tuple[tuple[str, str], ...]], ...] = (
    (
        "aws",
        "us-east-1",
        "aws_price",
        date(2026, 7, 20),
        (
            ("g4dn.xlarge", "0.526"),
            ("g4dn.12xlarge", "3.912"),
            ("g5.xlarge", "1.006"),
            ("g5.2xlarge", "1.212"),
            ("g5.12xlarge", "5.672"),
            ("g5.48xlarge", "16.288"),
            ("g6.xlarge", "0.8048"),
            ("g6.2xlarge", "0.9776"),
            ("g6.12xlarge", "4.6016"),
            ("g6.48xlarge", "13.3504"),
            ("g6e.xlarge", "1.861"),
            ("g6e.2xlarge", "2.24208"),
            ("g6e.12xlarge", "10.49264"),
            ("g6e.48xlarge", "30.13118"),
            ("g7e.2xlarge", "3.36312"),
            ("p4d.24xlarge", "21.957642"),
            ("p4de.24xlarge", "27.44705"),
            ("p5.4xlarge", "6.88"),
            ("p5.48xlarge", "55.04"),
            ("p5en.48xlarge", "63.296"),
            ("p6-b200.48xlarge", "113.9328"),
            ("p6-b300.48xlarge", "142.416"),
        ),
    ),
    (
        "gcp",
        "us-central1",
        "gcp_price",
        date(2026, 8, 3),
        (
            ("g2-standard-4", "0.7068"),
            ("g2-standard-8", "0.8536"),
            ("g2-standard-96", "8.0033"),
            ("g4-standard-48", "4.4999"),
            ("a2-highgpu-1g", "3.6734"),
            ("a2-highgpu-8g", "29.3871"),
            ("a2-ultragpu-1g", "5.0688"),
            ("a2-ultragpu-8g", "40.5504"),
            ("a3-highgpu-1g", "11.0612"),
            ("a3-highgpu-8g", "88.49"),
        ),
    ),
    (
        "gcp",
        "us-east4",
        "gcp_price",
        date(2026, 8, 3),
        (("a3-megagpu-8g", "92.9376"),),
    ),
    (
        "azure",
        "eastus",
        "azure_price",
        date(2026, 6, 18),
        (
            ("Standard_NC4as_T4_v3", "0.526"),
            ("Standard_NC16as_T4_v3", "1.204"),
            ("Standard_NC24ads_A100_v4", "3.673"),
            ("Standard_NC48ads_A100_v4", "7.346"),
            ("Standard_NC96ads_A100_v4", "14.692"),
            ("Standard_NC40ads_H100_v5", "6.98"),
            ("Standard_NC80adis_H100_v5", "13.96"),
            ("Standard_ND96asr_v4", "27.197"),
            ("Standard_ND96amsr_A100_v4", "32.77"),
            ("Standard_ND96isr_H100_v5", "98.32"),
        ),
    ),
    (
        "azure",
        "westus3",
        "azure_price",
        date(2026, 6, 18),
        (
            ("Standard_ND96isr_H200_v5", "84.8"),
            ("Standard_ND96isr_MI300X_v5", "48.0"),
        ),
    ),
    (
        "lambda",
        "",
        "lambda_page",
        date(2026, 9, 20),
        (
            ("gpu_1x_a10", "1.29"),
            ("gpu_8x_a100_40gb", "15.92"),
            ("gpu_8x_a100_80gb_sxm4", "22.32"),
            ("gpu_1x_h100_pcie", "3.29"),
            ("gpu_1x_h100_sxm5", "4.29"),
            ("gpu_8x_h100_sxm5", "31.92"),
            ("gpu_1x_b200", "6.99"),
            ("gpu_8x_b200", "53.52"),
        ),
    ),
)
ACCELERATORS: tuple[tuple[str, str, str, date, tuple[tuple[str, str], ...]], ...] = (
    (
        "runpod-secure",
        "",
        "datareceipts",
        date(2026, 11, 9),
        (
            ("NVIDIA H100 80GB HBM3", "3.99"),
            ("NVIDIA H100 PCIe", "2.89"),
            ("NVIDIA H100 NVL", "3.19"),
            ("NVIDIA A100-SXM4-80GB", "1.79"),
            ("NVIDIA A100 80GB PCIe", "1.79"),
        ),
    ),
    (
        "runpod-community",
        "",
        "datareceipts",
        date(2026, 11, 9),
        (("NVIDIA H100 80GB HBM3", "2.69"),),
    ),
    (
        "runpod-secure",
        "",
        "silybench",
        date(2026, 9, 25),
        (
            ("NVIDIA H200", "4.59"),
            ("NVIDIA B200", "6.79"),
            ("NVIDIA L40S", "1.09"),
        ),
    ),
    (
        "nebius",
        "",
        "silybench",
        date(2026, 9, 25),
        (
            ("NVIDIA H100 80GB HBM3", "3.85"),
            ("NVIDIA H200", "4.5"),
            ("NVIDIA B200", "7.15"),
            ("NVIDIA L40S", "1.55"),
        ),
    ),
    (
        "coreweave",
        "",
        "coreweave_obs",
        date(2026, 10, 24),
        (
            ("NVIDIA H100 80GB HBM3", "6.155"),
            ("NVIDIA H200", "6.305"),
        ),
    ),
)
SHIPPED = tuple(
    ShippedPrice(provider, name, region, Decimal(rate), source, read_on, reference)
    for groups, reference in ((INSTANCES, False), (ACCELERATORS, True))
    for provider, region, source, read_on, rates in groups
    for name, rate in rates
)
